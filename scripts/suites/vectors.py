"""The vectors of the vault against a second implementation (vault.py).

    vectors.py check FOLDER   every case of the files there, one line each
    vectors.py write FOLDER   writes the files; the same bytes each time

All keys in them are made from published words and protect nothing.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import vault
from vault import Refused, encode

NOW = 1_800_000_000
ISSUER = "https://broker.example"
URL = "https://worker.example/v1/cred/fetch"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def main():
    how, folder = sys.argv[1], Path(sys.argv[2])
    if how == "write":
        for name, made in everything().items():
            (folder / f"{name}.json").write_text(as_text(made))
        return
    failures = 0
    for name, made in everything().items():
        stored = (folder / f"{name}.json").read_text()
        failures += report(f"{name}.json is what is written today", stored == as_text(made))
        for case, held in check(name, json.loads(stored)):
            failures += report(f"{name}: {case}", held)
    sys.exit(failures > 0)


def report(case, held):
    print("pass" if held else "fail", case)
    return not held


def as_text(made):
    """One case a line, so that changes are seen as lines."""
    groups = []
    for group, cases in made.items():
        if isinstance(cases, list):
            lines = ",\n".join("    " + json.dumps(case) for case in cases)
            groups.append(f"  {json.dumps(group)}: [\n{lines}\n  ]")
        else:
            groups.append(f"  {json.dumps(group)}: {json.dumps(cases)}")
    return "{\n" + ",\n".join(groups) + "\n}\n"


def everything():
    return {
        "keks": keks(),
        "envelopes": envelopes(),
        "caps": caps(),
        "proofs": proofs(),
        "sessions": sessions(),
        "web_identities": web_identities(),
    }


# Names, keys and places that the cases are made of


def actor(kind, value):
    return hashlib.sha256(b"artifacts.actor.v1" + vault.lp(kind) + vault.lp(value)).hexdigest()


ADA = actor("oidc", "https://id.example\nada")
BEN = actor("oidc", "https://id.example\nben")
AGENT = actor("agent", f"{ADA}//builder")
WALLET = "0x52908400098527886e0f7030069857d2e4169ee7"
OTHER_WALLET = "0xde709f2102306220921060314715629080e2fb77"
PLACE = {"operator": ADA, "actor": AGENT, "service": "openrouter"}


def some_bytes(word, length=32):
    return hashlib.shake_256(word.encode()).digest(length)


def private_key(word, curve=ec.SECP256R1()):
    return ec.derive_private_key(int.from_bytes(some_bytes(word), "big") % (ORDER - 1) + 1, curve)


BROKER, OTHER_BROKER, DEVICE, OTHER_DEVICE = (
    private_key(word) for word in ("broker", "another broker", "device", "another device")
)


def jwks(*keys):
    named = []
    for key in keys:
        jwk = vault.jwk(key)
        named.append(jwk | {"use": "sig", "alg": "ES256", "kid": vault.thumbprint(jwk)})
    return {"keys": named}


def hexed(case):
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in case.items()}


# Key-encryption keys


def keks():
    current = []
    for name, secret, operator, whose in [
        ("an operator's own", b"\0" * 32, ADA, ADA),
        ("an agent's", some_bytes("epoch 1"), ADA, AGENT),
        ("the same agent's in the next epoch", some_bytes("epoch 2"), ADA, AGENT),
        ("operator and agent the other way round", some_bytes("epoch 1"), AGENT, ADA),
        ("another operator's", some_bytes("epoch 1"), BEN, AGENT),
    ]:
        kek = vault.kek(secret, operator, whose)
        current.append(hexed({"name": name, "secret": secret, "operator": operator, "actor": whose, "kek": kek}))
    old = []
    for name, wallet, service, signature in [
        ("of zeros", WALLET, "openrouter", b"\0" * 65),
        ("of any bytes", OTHER_WALLET, "github.com_api-v3", some_bytes("a signature", 65)),
    ]:
        case = {"name": name, "wallet": wallet, "service": service, "signature": signature}
        case |= {"message": vault.old_kek_message(wallet, service), "kek": vault.old_kek(signature)}
        old.append(hexed(case))
    return {"current": current, "old": old}


# Envelopes


KEK = vault.kek(some_bytes("epoch 1"), ADA, AGENT)
SALT = some_bytes("a salt", 24)
IV = some_bytes("a nonce", 12)
SECRET = b"sk-or-v1-0123456789abcdef"
OLD_PLACES = {1: {"wallet": WALLET, "service": "openrouter"}, 2: {"actor": AGENT, "service": "openrouter"}}


def repeated(byte, length):
    return {"repeat": [byte, length]}


def bytes_of(value):
    if isinstance(value, dict):
        byte, length = value["repeat"]
        return bytes([byte]) * length
    return bytes.fromhex(value)


def envelopes():
    sealed = []
    for name, epoch, generation, plaintext, place in [
        ("nothing", 1, 1, "", PLACE),
        ("one byte", 1, 1, "00", PLACE),
        ("a key", 1, 1, SECRET.hex(), PLACE),
        ("a key in another epoch", 2, 1, SECRET.hex(), PLACE),
        ("a key of another generation", 1, 2, SECRET.hex(), PLACE),
        ("the highest numbers", 2**32 - 1, 2**64 - 1, SECRET.hex(), PLACE),
        ("an operator's own", 1, 1, SECRET.hex(), PLACE | {"actor": ADA}),
        ("a name of one letter", 1, 1, SECRET.hex(), PLACE | {"service": "a"}),
        ("the longest name", 1, 1, SECRET.hex(), PLACE | {"service": "a" * 64}),
        ("a name with all signs", 1, 1, SECRET.hex(), PLACE | {"service": "0.a_b-c..d"}),
        ("1 KiB", 1, 1, repeated(0x61, 1024), PLACE),
        ("a byte less than a chunk", 1, 1, repeated(0x62, 16383), PLACE),
        ("a whole chunk", 1, 1, repeated(0x63, 16384), PLACE),
        ("a byte more than a chunk", 1, 1, repeated(0x64, 16385), PLACE),
        ("the longest", 1, 1, repeated(0x65, 65536), PLACE),
    ]:
        case = {"name": name, "kek": KEK, "epoch": epoch, "generation": generation, "salt": SALT, **place}
        envelope = vault.seal(KEK, place, epoch, generation, bytes_of(plaintext), SALT)
        sealed.append(hexed(case | {"plaintext": plaintext} | told(envelope)))
    old = []
    for version, place in OLD_PLACES.items():
        for name, plaintext in [("nothing", ""), ("a key", SECRET.hex()), ("the longest", repeated(0x65, 65536))]:
            case = {"name": f"0x{version:02x}: {name}", "kek": KEK, "nonce": IV, **place}
            envelope = vault.old_seal(KEK, place, bytes_of(plaintext), IV)
            old.append(hexed(case | {"plaintext": plaintext} | told(envelope)))
    return {"sealed": sealed, "old": old, "refused": refused_envelopes(), "old_refused": refused_old_envelopes()}


def told(envelope):
    """A long envelope is told by its hash."""
    if len(envelope) > 2048:
        return {"sha256": hashlib.sha256(envelope).digest()}
    return {"envelope": envelope}


def flipped(data, at, bit=1):
    data = bytearray(data)
    data[at] ^= bit
    return bytes(data)


def refused_envelopes():
    good = vault.seal(KEK, PLACE, 1, 1, SECRET, SALT)
    cases = []

    def case(name, reason, envelope, place=PLACE, kek=KEK):
        cases.append(hexed({"name": name, "reason": reason, "kek": kek, **place, "envelope": envelope}))

    case("no byte", "envelope_malformed", b"")
    for version in (0x00, 0x03, 0x0F, 0x11, 0x20, 0x7F, 0x90, 0xFF):
        case(f"version 0x{version:02x}", "envelope_version", bytes([version]) + good[1:])
    for version in (0x01, 0x02):
        case(f"version byte made 0x{version:02x}", "envelope_version", bytes([version]) + good[1:])
        old = vault.old_seal(KEK, OLD_PLACES[version], SECRET, IV)
        case(f"a good envelope of version 0x{version:02x}", "envelope_version", old)
    for length in (1, 2, 4, 5, 12, 13, 14, 36, 37, 38, 68, 69, 70, 84):
        case(f"cut off after {length} bytes", "envelope_malformed", good[:length])
    for length in (85, 86, len(good) - 16, len(good) - 1):
        case(f"cut off after {length} bytes", "envelope_invalid", good[:length])
    for name, rest in [("a byte", b"\0"), ("16 bytes", b"\0" * 16), ("itself", good)]:
        case(f"{name} more", "envelope_invalid", good + rest)
    case("a byte before", "envelope_version", b"\0" + good)
    for name, at in [
        ("the epoch's first byte", 1), ("the epoch's last byte", 4), ("the generation's first byte", 5),
        ("the generation's last byte", 12), ("the salt's first byte", 13), ("the salt's last byte", 36),
        ("the commitment's first byte", 37), ("the commitment's last byte", 68), ("the text's first byte", 69),
        ("the text's last byte", len(good) - 17), ("the tag's first byte", len(good) - 16),
        ("the tag's last byte", len(good) - 1),
    ]:  # fmt: skip
        case(f"{name} changed", "envelope_invalid", flipped(good, at))
    case("epoch and generation of another", "envelope_invalid", vault.seal(KEK, PLACE, 2, 2, SECRET, SALT)[:13] + good[13:])
    case("the head of another salt", "envelope_invalid", vault.seal(KEK, PLACE, 1, 1, SECRET, some_bytes("s", 24))[:69] + good[69:])
    case("no commitment but zeros", "envelope_invalid", good[:37] + b"\0" * 32 + good[69:])
    case("nothing but zeros", "envelope_invalid", b"\x10" + b"\0" * 100)
    for name, changed in [
        ("of another service", {"service": "github"}),
        ("of a service that begins alike", {"service": "openroute"}),
        ("of a service that goes on", {"service": "openrouter2"}),
        ("of another agent", {"actor": actor("agent", f"{ADA}//tester")}),
        ("of the operator", {"actor": ADA}),
        ("of another operator", {"operator": BEN}),
        ("of operator and agent swapped", {"operator": AGENT, "actor": ADA}),
    ]:
        case(f"opened as one {name}", "envelope_invalid", good, PLACE | changed)
    for name, kek in [
        ("the next epoch's", vault.kek(some_bytes("epoch 2"), ADA, AGENT)),
        ("the operator's", vault.kek(some_bytes("epoch 1"), ADA, ADA)),
        ("another operator's", vault.kek(some_bytes("epoch 1"), BEN, AGENT)),
        ("an older version's", vault.old_kek(some_bytes("a signature", 65))),
        ("a wrong (one bit)", flipped(KEK, 31)),
        ("no", b"\0" * 32),
    ]:
        case(f"opened by {name} key", "envelope_invalid", good, kek=kek)
    for name, sealed in sealed_wrongly():
        case(name, "envelope_invalid", sealed)
    # What is too long for hexadecimal digits here is told as slices of an envelope above.
    long = [
        ("the last, empty chunk gone", "envelope_malformed", "a whole chunk", [[0, 69 + 16400]]),
        ("the last tag cut", "envelope_malformed", "a whole chunk", [[0, 69 + 16400 + 15]]),
        ("the first chunk gone", "envelope_invalid", "a whole chunk", [[0, 69], [69 + 16400, 69 + 16416]]),
        ("the last chunk twice", "envelope_invalid", "a byte more than a chunk", [[0, 69 + 16417], [69 + 16400, 69 + 16417]]),
        ("the first chunk twice", "envelope_invalid", "a whole chunk", [[0, 69 + 16400], [69, 69 + 16416]]),
        ("two chunks swapped", "envelope_invalid", "the longest",
         [[0, 69], [69 + 16400, 69 + 32800], [69, 69 + 16400], [69 + 32800, 69 + 65616]]),
        ("a chunk in the middle gone", "envelope_invalid", "the longest", [[0, 69 + 16400], [69 + 32800, 69 + 65616]]),
        ("cut off within the second chunk", "envelope_invalid", "the longest", [[0, 69 + 20000]]),
        ("a byte longer than the longest", "envelope_malformed", "the longest", [[0, 69 + 65616], [0, 1]]),
        ("twice the longest", "envelope_malformed", "the longest", [[0, 69 + 65616], [0, 69 + 65616]]),
    ]  # fmt: skip
    for name, reason, of, slices in long:
        cases.append(hexed({"name": name, "reason": reason, "kek": KEK, **PLACE, "slices": slices, "of": of}))
    return cases


def sealed_wrongly():
    """By a writer who holds the key and takes another way than is written."""
    header = vault.seal(KEK, PLACE, 1, 1, SECRET, SALT)[:13]
    good = vault.context(header, PLACE)
    parts = [PLACE[part] for part in ("operator", "actor", "service")]
    contexts = [
        ("no context", b""),
        ("a context without the label", good[len(b"artifacts.envelope.10") :]),
        ("the label of another version", good.replace(b"envelope.10", b"envelope.11")),
        ("a context without epoch and generation", b"artifacts.envelope.10" + b"".join(map(vault.lp, parts))),
        ("a context joined by a separator", b"artifacts.envelope.10" + header + "|".join(parts).encode()),
        ("a context of bytes for actors", b"artifacts.envelope.10" + header + b"".join(
            len(part).to_bytes(2, "big") + part for part in [bytes.fromhex(ADA), bytes.fromhex(AGENT), b"openrouter"])),
        ("lengths in four bytes", b"artifacts.envelope.10" + header + b"".join(
            len(part).to_bytes(4, "big") + part.encode() for part in parts)),
        ("the service in capitals", vault.context(header, PLACE | {"service": "OpenRouter"})),
        ("actors in capitals", vault.context(header, PLACE | {"actor": AGENT.upper()})),
        ("actor and operator the other way round", vault.context(header, PLACE | {"actor": ADA, "operator": AGENT})),
        ("a service out of the folder", vault.context(header, PLACE | {"service": "../openrouter"})),
    ]  # fmt: skip
    for name, context in contexts:
        yield f"sealed with {name}", header + vault.chunked_seal(KEK, SALT, context, SECRET)
    cipher, base, commitment = vault.derived(KEK, SALT, good)
    head = header + SALT + commitment
    wrong = vault.derived(KEK, SALT, good, b"AEAD_AES_128_GCM")
    aead = AESGCM(cipher)
    yield "sealed as Cobblestone-128 is named", header + SALT + wrong[2] + AESGCM(wrong[0]).encrypt(wrong[1], SECRET, None)
    yield "a commitment for another cipher", head + AESGCM(wrong[0]).encrypt(wrong[1], SECRET, None)
    yield "counted from one", head + aead.encrypt(vault.nonce(base, 1), SECRET, None)
    yield "with additional data", head + aead.encrypt(base, SECRET, good)
    yield "the key itself as the cipher's", head + AESGCM(KEK).encrypt(base, SECRET, None)
    yield "a first chunk that is short", head + aead.encrypt(base, SECRET, None) + aead.encrypt(vault.nonce(base, 1), b"", None)


def refused_old_envelopes():
    cases = []

    def case(name, reason, envelope, place, kek=KEK):
        cases.append(hexed({"name": name, "reason": reason, "kek": kek, **place, "envelope": envelope}))

    for version, place in OLD_PLACES.items():
        good = vault.old_seal(KEK, place, SECRET, IV)
        prefix = f"0x{version:02x}: "
        case(prefix + "no byte", "envelope_malformed", b"", place)
        case(prefix + "of the other version", "envelope_version", bytes([3 - version]) + good[1:], place)
        case(prefix + "version 0x10", "envelope_version", b"\x10" + good[1:], place)
        case(prefix + "version 0x00", "envelope_version", b"\0" + good[1:], place)
        for length in (1, 12, 13, 28):
            case(prefix + f"cut off after {length} bytes", "envelope_malformed", good[:length], place)
        for length in (29, len(good) - 1):
            case(prefix + f"cut off after {length} bytes", "envelope_invalid", good[:length], place)
        case(prefix + "a byte more", "envelope_invalid", good + b"\0", place)
        for part, at in [("nonce", 1), ("text", 13), ("tag", len(good) - 1)]:
            case(prefix + f"the {part} changed", "envelope_invalid", flipped(good, at), place)
        case(prefix + "another service's", "envelope_invalid", good, place | {"service": "github"})
        whose = {"wallet": OTHER_WALLET} if version == 1 else {"actor": ADA}
        case(prefix + "another owner's", "envelope_invalid", good, place | whose)
        case(prefix + "another key's", "envelope_invalid", good, place, flipped(KEK, 0))
        capitals = vault.old_seal(KEK, place | {"service": "OpenRouter"}, SECRET, IV)
        case(prefix + "sealed with the service in capitals", "envelope_invalid", capitals, place)
        data = vault.old_owner(place)[1]
        for name, aad in [("the other version's data", data.replace(f".v{version}".encode(), f".v{3 - version}".encode())),
                          ("no data", None), ("data that goes on", data + b"|")]:  # fmt: skip
            made = bytes([version]) + IV + AESGCM(KEK).encrypt(IV, SECRET, aad)
            case(prefix + f"sealed with {name}", "envelope_invalid", made, place)
    first = vault.old_seal(KEK, OLD_PLACES[1], SECRET, IV)
    case("a good 0x01 as 0x02", "envelope_version", first, OLD_PLACES[2])
    case("a good 0x01 named 0x02", "envelope_invalid", b"\2" + first[1:], OLD_PLACES[2])
    return cases


# Tokens


def joined(header, claims, sign):
    """A token of JSON texts, or of values."""
    parts = [part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    signed = ".".join(map(encode, parts))
    return f"{signed}.{encode(sign(signed.encode()))}"


def by(key):
    return lambda data: vault.raw_sign(key, data)


def without(value, *names):
    return {name: part for name, part in value.items() if name not in names}


def respelled(text):
    """The other spelling of the same bytes: unused bits at the end are set."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4, "no unused bits"
    return text[:-1] + letters[letters.index(text[-1]) | 1]


def bad_tokens(typ, header, claims, key, other, also=None):
    """What no reader of any type may take, however well it is signed. `also`: JSON of more members."""
    sign = by(key)
    good = joined(header, claims, sign)
    head, body, signature = good.split(".")
    raw = lambda value: json.dumps(value, separators=(",", ":"))
    p384 = private_key("another curve", ec.SECP384R1())
    secret = vault.public_key(vault.jwk(key)).public_numbers().x.to_bytes(32, "big")
    mac = lambda data: hmac.digest(secret, data, "sha256")
    n = ORDER.to_bytes(32, "big")
    r, s = vault.decode(signature)[:32], vault.decode(signature)[32:]
    signed = f"{head}.{body}"
    yield "empty", ""
    yield "two dots", ".."
    yield "no signature", f"{signed}."
    yield "no signature and no dot", signed
    yield "no claims", f"{head}..{signature}"
    yield "no header", f".{body}.{signature}"
    yield "a fourth part", f"{good}.{signature}"
    yield "five parts, as of an encrypted token", f"{head}.{body}.{body}.{body}.{signature}"
    yield "a space before", f" {good}"
    yield "a line break after", f"{good}\n"
    yield "a padded signature", f"{good}=="
    yield "a padded header", joined(header, claims, sign).replace(".", "=.", 1)
    yield "signature in the standard alphabet", standard(header, claims, sign)
    yield "signature spelled with unused bits", f"{signed}.{respelled(signature)}"
    yield "a signature of 63 bytes", f"{signed}.{encode((r + s)[:63])}"
    yield "a signature of 65 bytes", f"{signed}.{encode(r + s + bytes(1))}"
    yield "a signature in DER", f"{signed}.{encode(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))}"
    yield "r is zero", f"{signed}.{encode(bytes(32) + s)}"
    yield "s is zero", f"{signed}.{encode(r + bytes(32))}"
    yield "r and s are zero", f"{signed}.{encode(bytes(64))}"
    yield "r is the order", f"{signed}.{encode(n + s)}"
    yield "s is the order", f"{signed}.{encode(r + n)}"
    yield "r and s swapped", f"{signed}.{encode(s + r)}"
    yield "signature changed", f"{signed}.{encode(flipped(r + s, 63))}"
    yield "claims changed", f"{head}.{encode(raw(claims | {'jti': 'another'}).encode())}.{signature}"
    yield "signed by another key", joined(header, claims, by(other))
    yield "signature of another token", f"{signed}.{joined(header, claims | {'jti': 'another'}, sign).split('.')[2]}"
    for alg in ("none", "None", "NONE", "es256", "HS256", "ES384", "RS256", "EdDSA", ""):
        yield f"alg {alg or 'empty'}", joined(header | {"alg": alg}, claims, sign)
    yield "alg none, no signature", joined(header | {"alg": "none"}, claims, lambda _: b"")
    yield "HS256 by the public key", joined(header | {"alg": "HS256"}, claims, mac)
    yield "ES384 by another curve", joined(header | {"alg": "ES384"}, claims, lambda data: vault.raw_sign(p384, data, hashes.SHA384(), 48))
    yield "no alg", joined(without(header, "alg"), claims, sign)
    yield "no typ", joined(without(header, "typ"), claims, sign)
    yield "alg of another type", joined(header | {"alg": ["ES256"]}, claims, sign)
    for wrong in ("JWT", "jwt", "at+jwt", typ.upper(), f"application/{typ}", f"{typ} ", "", "dpop+jwt", *others(typ)):
        yield f"typ {wrong!r}", joined(header | {"typ": wrong}, claims, sign)
    yield "crit", joined(header | {"crit": ["exp"]}, claims, sign)
    yield "crit, empty", joined(header | {"crit": []}, claims, sign)
    yield "b64 false", joined(header | {"b64": False, "crit": ["b64"]}, claims, sign)
    yield "a header member that is not known", joined(header | {"cty": "JWT"}, claims, sign)
    yield "jku", joined(header | {"jku": "https://evil.example/jwks"}, claims, sign)
    yield "x5u", joined(header | {"x5u": "https://evil.example/cert"}, claims, sign)
    yield "zip", joined(header | {"zip": "DEF"}, claims, sign)
    yield "a header member in capitals", joined({name.upper() if name == "alg" else name: value for name, value in header.items()}, claims, sign)
    yield "alg twice", joined(raw(header)[:-1].encode() + b',"alg":"ES256"}', claims, sign)
    yield "alg twice, once by an escape", joined(raw(header)[:-1].encode() + b',"\\u0061lg":"ES256"}', claims, sign)
    yield "typ twice", joined(b'{"typ":"JWT",' + raw(header)[1:].encode(), claims, sign)
    yield "the header an array", joined(list(header.values()), claims, sign)
    yield "the claims an array", joined(header, list(claims.values()), sign)
    yield "the claims a string", joined(header, "claims", sign)
    yield "the claims null", joined(header, b"null", sign)
    yield "the claims empty", joined(header, b"", sign)
    yield "the claims no JSON", joined(header, raw(claims)[:-1].encode(), sign)
    yield "something after the claims", joined(header, raw(claims).encode() + b"{}", sign)
    yield "claims that are no UTF-8", joined(header, raw(claims)[:-2].encode() + b'\xff"}', sign)
    yield "claims in UTF-16", joined(header, raw(claims).encode("utf-16"), sign)
    yield "a byte order mark", joined(header, b"\xef\xbb\xbf" + raw(claims).encode(), sign)
    yield "a claim that is not known", joined(header, claims | {"admin": True}, sign)
    yield "a claim in capitals", joined(header, without(claims, "jti") | {"JTI": claims["jti"]}, sign)
    for name in claims:
        yield f"no {name}", joined(header, without(claims, name), sign)
        yield f"{name} null", joined(header, claims | {name: None}, sign)
        twice = raw(claims)[:-1] + f',"{name}":{raw(claims[name])}' + "}"
        yield f"{name} twice", joined(header, twice.encode(), sign)
    for name in ("iat", "nbf", "exp"):
        if name in claims:
            for word, value in [("text", str(claims[name])), ("a fraction", claims[name] + 0.5), ("true", True),
                                ("a whole float", float(claims[name])), ("beyond 64 bits", 2**63)]:  # fmt: skip
                yield f"{name} {word}", joined(header, claims | {name: value}, sign)
    for word, value in [("empty", ""), ("of 65 letters", "a" * 65), ("with a space", "a b"), ("with NUL", "a\0"),
                        ("a number", 7), ("with a letter beyond ASCII", "\u00e4")]:  # fmt: skip
        yield f"jti {word}", joined(header, claims | {"jti": value}, sign)
    yield "a bomb of arrays", joined(header, b'{"iss":' + b"[" * 900 + b"]" * 900 + b"}", sign)
    yield "a bomb of objects", joined(header, b'{"iss":' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}", sign)
    yield "a bomb in the header", joined(b'{"alg":' + b"[" * 900 + b"]" * 900 + b"}", claims, sign)
    yield "a bomb of members", joined(header, b"{" + b",".join(b'"a%d":1' % at for at in range(200)) + b"}", sign)
    yield "a number of 1,000 digits", joined(header, raw(claims)[:-1].encode() + b',"iat":' + b"9" * 1000 + b"}", sign)
    yield "longer than any token", joined(header, raw(claims).encode() + b" " * 4096, sign)


def standard(header, claims, sign):
    """In the alphabet with + and /, where it differs."""
    for number in range(99):
        token = joined(header, claims | {"jti": f"number-{number}"}, sign)
        head, body, signature = token.split(".")
        if "-" in signature and "_" in signature:
            return f"{head}.{body}.{signature.replace('-', '+').replace('_', '/')}"
    raise AssertionError("no such signature")


def others(typ):
    return [other for other in ("cap+jwt", "cap-proof+jwt", "session+jwt") if other != typ]


# Capabilities


DEVICE_ID = vault.thumbprint(vault.jwk(DEVICE))
BROKER_ID = vault.thumbprint(vault.jwk(BROKER))
CAP = {
    "iss": ISSUER, "aud": "artifacts-worker", "sub": AGENT, "operator": ADA, "op": "fetch",
    "data_class": "credentials", "service": "openrouter", "epoch": 1, "iat": NOW, "nbf": NOW, "exp": NOW + 300,
    "jti": "cap-1", "cnf": {"jkt": DEVICE_ID},
}  # fmt: skip
CAP_HEADER = {"alg": "ES256", "typ": "cap+jwt", "kid": BROKER_ID}
FETCH = {"op": "fetch", "service": "openrouter"}
BY_BROKER = by(BROKER)


def caps():
    taken = []
    for name, changed, request, now in [
        ("to fetch", {}, FETCH, NOW),
        ("to store", {"op": "store"}, {"op": "store", "service": "openrouter"}, NOW),
        ("to list", {"op": "list", "service": None}, {"op": "list"}, NOW),
        ("to tear down", {"op": "teardown", "service": None, "target": AGENT, "sub": ADA}, {"op": "teardown", "target": AGENT}, NOW),
        ("in its last second", {}, FETCH, NOW + 299),
        ("whose broker's clock is 5 s ahead", {}, FETCH, NOW - 5),
        ("for a second only", {"exp": NOW + 1}, FETCH, NOW),
        ("of the highest epoch", {"epoch": 2**32 - 1}, FETCH, NOW),
        ("with the longest number", {"jti": "a" * 64}, FETCH, NOW),
        ("that begins later", {"nbf": NOW + 5}, FETCH, NOW),
    ]:
        claims = {member: value for member, value in (CAP | changed).items() if value is not None}
        token = joined(CAP_HEADER, claims, BY_BROKER)
        taken.append({"name": name, "now": now, "request": request, "claims": claims, "token": token})
    spaced = json.dumps(CAP, indent=2).encode()
    taken.append({"name": "with spaces", "now": NOW, "request": FETCH, "claims": CAP, "token": joined(CAP_HEADER, spaced, BY_BROKER)})
    token = joined(CAP_HEADER, CAP, BY_BROKER)
    taken.append({"name": "by the high s as well", "now": NOW, "request": FETCH, "claims": CAP, "token": other_s(token)})
    return {"keys": jwks(BROKER), "private": scalar(BROKER), "issuer": ISSUER, "taken": taken, "refused": refused_caps()}


def scalar(key):
    return key.private_numbers().private_value.to_bytes(32, "big").hex()


def other_s(token):
    signed, signature = token.rsplit(".", 1)
    raw = vault.decode(signature)
    s = ORDER - int.from_bytes(raw[32:], "big")
    return f"{signed}.{encode(raw[:32] + s.to_bytes(32, 'big'))}"


def refused_caps():
    cases = []

    def case(name, reason, token, request=FETCH, now=NOW):
        cases.append({"name": name, "reason": reason, "now": now, "request": request, "token": token})

    def claims(name, reason, request=FETCH, now=NOW, **changed):
        case(name, reason, joined(CAP_HEADER, {n: v for n, v in (CAP | changed).items() if v is not None}, BY_BROKER), request, now)

    form = "cap_signature_invalid"
    for name, token in bad_tokens("cap+jwt", CAP_HEADER, CAP, BROKER, OTHER_BROKER):
        # Without its service the token is of good form, and for no service.
        reason = "cap_service_mismatch" if name == "no service" else form
        case(name, reason, token)
    for name, kid in [("unknown", vault.thumbprint(vault.jwk(OTHER_BROKER))), ("empty", ""), ("of the device", DEVICE_ID),
                      ("padded", BROKER_ID + "="), ("with unused bits", respelled(BROKER_ID)), ("a path", "../../dev/null"),
                      ("a quote", "' OR 1=1 --")]:  # fmt: skip
        case(f"kid {name}", form, joined(CAP_HEADER | {"kid": kid}, CAP, BY_BROKER))
    case("no kid", form, joined(without(CAP_HEADER, "kid"), CAP, BY_BROKER))
    case("kid of another key that signed", form, joined(CAP_HEADER | {"kid": BROKER_ID}, CAP, by(OTHER_BROKER)))
    case("a key in the header", form, joined(without(CAP_HEADER, "kid") | {"jwk": vault.jwk(OTHER_BROKER)}, CAP, by(OTHER_BROKER)))
    case("a key in the header beside kid", form, joined(CAP_HEADER | {"jwk": vault.jwk(OTHER_BROKER)}, CAP, by(OTHER_BROKER)))
    for name, iss in [("another", "https://other.example"), ("with a slash more", ISSUER + "/"), ("in capitals", ISSUER.upper()), ("empty", "")]:
        claims(f"issuer {name}", form, iss=iss)
    claims("issuer a list", form, iss=[ISSUER])
    for name, aud in [("of sessions", "artifacts"), ("of web identities", "sts.amazonaws.com"), ("empty", ""), ("in capitals", "ARTIFACTS-WORKER")]:
        claims(f"audience {name}", form, aud=aud)
    claims("audience a list", form, aud=["artifacts-worker"])
    for member in ("sub", "operator"):
        for name, value in [("in capitals", AGENT.upper()), ("too short", AGENT[:63]), ("too long", AGENT + "0"), ("a path", "../" + AGENT[3:]),
                            ("a wildcard", "*" * 64), ("empty", "")]:  # fmt: skip
            claims(f"{member} {name}", form, **{member: value})
    for name, service in [("out of the folder", "../openrouter"), ("..", ".."), ("with a slash", "a/b"), ("empty", ""), ("too long", "a" * 65),
                          ("with NUL", "a\0"), ("with a percent", "a%2fb"), ("beyond ASCII", "\uff4fpenrouter")]:  # fmt: skip
        claims(f"service {name}", form, service=service)
    for name, epoch in [("negative", -1), ("beyond 32 bits", 2**32), ("text", "1"), ("a fraction", 1.5)]:
        claims(f"epoch {name}", form, epoch=epoch)
    for name, cnf in [("empty", {}), ("text", DEVICE_ID), ("a list", [DEVICE_ID]), ("with a member more", {"jkt": DEVICE_ID, "jwk": {}}),
                      ("jkt too short", {"jkt": DEVICE_ID[1:]}), ("jkt padded", {"jkt": DEVICE_ID + "="}),
                      ("jkt with unused bits", {"jkt": respelled(DEVICE_ID)}), ("jkt null", {"jkt": None})]:  # fmt: skip
        claims(f"cnf {name}", form, cnf=cnf)
    case("jkt twice", form, joined(CAP_HEADER, json.dumps(CAP).replace('"jkt"', f'"jkt": "{DEVICE_ID}", "jkt"').encode(), BY_BROKER))

    claims("at its end", "cap_expired", now=NOW + 300)
    claims("after its end", "cap_expired", now=NOW + 301)
    claims("long after its end", "cap_expired", now=NOW + 10**9)
    claims("before it begins", "cap_expired", now=NOW - 6)
    claims("made later than now", "cap_expired", iat=NOW + 6)
    claims("not before later than now", "cap_expired", nbf=NOW + 6)
    claims("for 301 s", "cap_expired", exp=NOW + 301)
    claims("for an hour", "cap_expired", exp=NOW + 3600)
    claims("for ever", "cap_expired", exp=2**63 - 1)
    claims("for 301 s from not before", "cap_expired", nbf=NOW - 1)
    claims("longer by an older iat", "cap_expired", iat=NOW - 1)
    claims("ended when it was made", "cap_expired", exp=NOW, now=NOW - 1)
    claims("an end before the beginning", "cap_expired", exp=NOW - 10, now=NOW - 20, nbf=NOW - 20, iat=NOW - 5)
    claims("times at the lowest", "cap_expired", iat=-(2**63), nbf=-(2**63))
    claims("an end at the lowest", "cap_expired", exp=-(2**63))

    for op in ("store", "list", "teardown"):
        claims(f"to {op}", "cap_op_mismatch", op=op)
    for op in ("FETCH", "Fetch", "", "fetch ", "fetch,store", "*", "delete"):
        claims(f"op {op!r}", "cap_op_mismatch", op=op)
    for data_class in ("", "Credentials", "secrets", "*", "workspaces"):
        claims(f"data class {data_class!r}", "cap_op_mismatch", data_class=data_class)
    claims("op 'delete', to list", "cap_op_mismatch", {"op": "list"}, op="delete", service=None)
    claims("another data class, to list", "cap_op_mismatch", {"op": "list"}, op="list", service=None, data_class="workspaces")
    claims("expired, and to store", "cap_expired", op="store", now=NOW + 300)
    claims("to store, and for another service", "cap_op_mismatch", op="store", service="github")

    mismatch = "cap_service_mismatch"
    for service in ("github", "openroute", "openrouter2", "openrouter.", "o"):
        claims(f"for {service}", mismatch, service=service)
    claims("for no service, as is asked", mismatch, {"op": "fetch"}, service=None)
    claims("for a service, where none is asked", mismatch, {"op": "fetch"})
    claims("to tear down nobody, as is asked", mismatch, {"op": "teardown"}, op="teardown", service=None)
    claims("with a target", mismatch, target=AGENT)
    claims("with a target, as is asked", mismatch, FETCH | {"target": AGENT}, target=AGENT)
    claims("a target in place of the service", mismatch, service=None, target=AGENT)
    claims("to list, with a service", mismatch, {"op": "list"}, op="list")
    claims("to list, with a target", mismatch, {"op": "list"}, op="list", service=None, target=AGENT)
    teardown = {"op": "teardown", "target": AGENT}
    claims("to tear down another", mismatch, teardown, op="teardown", service=None, target=ADA)
    claims("to tear down none", mismatch, teardown, op="teardown", service=None)
    claims("to tear down a service", mismatch, teardown, op="teardown")
    claims("to tear down, with a service", mismatch, teardown, op="teardown", target=AGENT)
    return cases


# Proofs


PROOF_HEADER = {"alg": "ES256", "typ": "cap-proof+jwt", "jwk": vault.jwk(DEVICE)}
BODY = b'{"cap":"...","service":"openrouter"}'
TOKEN = "a.b.c"
PROOF = {"htm": "POST", "htu": URL, "iat": NOW, "jti": "proof-1", "ath": vault.digest(TOKEN.encode()), "bdh": vault.digest(BODY)}
REQUEST = {"method": "POST", "url": URL, "token": TOKEN, "body": BODY.hex()}
BY_DEVICE = by(DEVICE)


def proofs():
    taken = []
    for name, changed, request, now, expected in [
        ("for a capability", {}, {}, NOW, DEVICE_ID),
        ("by any device", {}, {}, NOW, None),
        ("without a token", {"ath": None}, {"token": None}, NOW, None),
        ("without a body", {"bdh": vault.digest(b"")}, {"body": ""}, NOW, DEVICE_ID),
        ("60 s old", {}, {}, NOW + 60, DEVICE_ID),
        ("of a clock 60 s ahead", {}, {}, NOW - 60, DEVICE_ID),
        ("to get", {"htm": "GET"}, {"method": "GET"}, NOW, DEVICE_ID),
        ("with the longest number", {"jti": "_" * 64}, {}, NOW, DEVICE_ID),
    ]:
        claims = {member: value for member, value in (PROOF | changed).items() if value is not None}
        token = joined(PROOF_HEADER, claims, BY_DEVICE)
        taken.append({"name": name, "now": now, "expected": expected, "request": REQUEST | request, "claims": claims, "proof": token})
    return {"private": scalar(DEVICE), "device": DEVICE_ID, "taken": taken, "refused": refused_proofs()}


def refused_proofs():
    cases = []

    def case(name, proof, reason="proof_invalid", now=NOW, expected=DEVICE_ID, **request):
        cases.append({"name": name, "reason": reason, "now": now, "expected": expected, "request": REQUEST | request, "proof": proof})

    def claims(name, now=NOW, request=None, **changed):
        proof = joined(PROOF_HEADER, {n: v for n, v in (PROOF | changed).items() if v is not None}, BY_DEVICE)
        case(name, proof, now=now, **(request or {}))

    good = joined(PROOF_HEADER, PROOF, BY_DEVICE)
    case("none", None, "proof_missing")
    for name, token in bad_tokens("cap-proof+jwt", PROOF_HEADER, PROOF, DEVICE, OTHER_DEVICE):
        case(name, token)
    other_jwk = PROOF_HEADER | {"jwk": vault.jwk(OTHER_DEVICE)}
    case("by another device, in its name", joined(other_jwk, PROOF, BY_DEVICE))
    case("by another device", joined(other_jwk, PROOF, by(OTHER_DEVICE)))
    case("kid in place of the key", joined(without(PROOF_HEADER, "jwk") | {"kid": DEVICE_ID}, PROOF, BY_DEVICE))
    case("kid beside the key", joined(PROOF_HEADER | {"kid": DEVICE_ID}, PROOF, BY_DEVICE))
    case("no key", joined(without(PROOF_HEADER, "jwk"), PROOF, BY_DEVICE))
    jwk = vault.jwk(DEVICE)
    zero = encode(bytes(32))
    for name, changed in [
        ("kty oct", {"kty": "oct"}), ("kty in small letters", {"kty": "ec"}), ("crv P-384", {"crv": "P-384"}), ("crv secp256k1", {"crv": "secp256k1"}),
        ("no point", {"x": zero, "y": zero}), ("off the curve", {"y": jwk["x"]}), ("x too short", {"x": jwk["x"][:-2]}),
        ("x with a zero before", {"x": encode(bytes(1) + vault.decode(jwk["x"]))}), ("x padded", {"x": jwk["x"] + "="}),
        ("x with unused bits", {"x": respelled(jwk["x"])}), ("x at the prime", {"x": encode((2**256 - 2**224 + 2**192 + 2**96 - 1).to_bytes(32, "big"))}),
        ("x a number", {"x": 7}), ("a private part", {"d": encode(bytes(32))}), ("a member more", {"ext": True}),
    ]:  # fmt: skip
        case(f"a key with {name}", joined(PROOF_HEADER | {"jwk": jwk | changed}, PROOF, BY_DEVICE), expected=None)
    for name in jwk:
        case(f"a key without {name}", joined(PROOF_HEADER | {"jwk": without(jwk, name)}, PROOF, BY_DEVICE), expected=None)
    case("a key as a list", joined(PROOF_HEADER | {"jwk": list(jwk.values())}, PROOF, BY_DEVICE), expected=None)
    twice = json.dumps(PROOF_HEADER).replace('"kty"', '"kty": "EC", "kty"').encode()
    case("a key with kty twice", joined(twice, PROOF, BY_DEVICE), expected=None)
    for method in ("GET", "post", "POST "):
        claims(f"htm {method!r}", htm=method)
    for name, url in [
        ("another path", URL.replace("fetch", "store")), ("another host", URL.replace("worker", "evil")), ("a port", URL.replace(".example", ".example:443")),
        ("http", URL.replace("https", "http")), ("a query", URL + "?a=b"), ("a fragment", URL + "#a"), ("a slash more", URL + "/"),
        ("capitals", URL.upper()), ("dots", URL.replace("/v1/", "/v1/x/../")), ("an escape", URL.replace("fetch", "f%65tch")),
    ]:  # fmt: skip
        claims(f"htu with {name}", htu=url)
    claims("61 s old", now=NOW + 61)
    claims("of a clock 61 s ahead", now=NOW - 61)
    claims("of the lowest time", iat=-(2**63))
    claims("of the highest time", iat=2**63 - 1)
    claims("for another token", ath=vault.digest(b"a.b.d"))
    claims("for no token", ath=None)
    claims("for a token where there is none", request={"token": None})
    claims("with the token itself", ath=TOKEN)
    claims("a hash in digits", ath=hashlib.sha256(TOKEN.encode()).hexdigest())
    claims("for another body", bdh=vault.digest(BODY + b" "))
    claims("for no body", bdh=vault.digest(b""))
    claims("without a hash of the body", bdh=None)
    case("the body changed", good, body=flipped(BODY, 0).hex())
    case("the token changed", good, token=TOKEN + "d")
    return cases


# Sessions


SESSION = {"iss": ISSUER, "aud": "artifacts", "sub": AGENT, "operator": ADA, "iat": NOW, "exp": NOW + 3600, "jti": "session-1", "device": DEVICE_ID}
SESSION_HEADER = {"alg": "ES256", "typ": "session+jwt", "kid": BROKER_ID}


def sessions():
    taken, refused = [], []
    for name, changed, now in [
        ("an agent's", {}, NOW),
        ("an operator's", {"sub": ADA, "device": None}, NOW),
        ("in its last second", {}, NOW + 3599),
        ("whose broker's clock is 5 s ahead", {}, NOW - 5),
    ]:
        claims = {member: value for member, value in (SESSION | changed).items() if value is not None}
        taken.append({"name": name, "now": now, "claims": claims, "token": joined(SESSION_HEADER, claims, BY_BROKER)})

    def case(name, reason, token, now=NOW):
        refused.append({"name": name, "reason": reason, "now": now, "token": token})

    for name, token in bad_tokens("session+jwt", SESSION_HEADER, SESSION, BROKER, OTHER_BROKER):
        if name != "no device":
            case(name, "invalid", token)
    for name, changed in [
        ("another issuer", {"iss": "https://other.example"}), ("the audience of capabilities", {"aud": "artifacts-worker"}),
        ("the audience of web identities", {"aud": "sts.amazonaws.com"}), ("a wildcard for an actor", {"sub": "*" * 64}),
        ("an actor in capitals", {"sub": AGENT.upper()}), ("a device that is none", {"device": "laptop"}),
        ("a device with unused bits", {"device": respelled(DEVICE_ID)}), ("claims of a capability", CAP),
    ]:  # fmt: skip
        case(name, "invalid", joined(SESSION_HEADER, SESSION | changed, BY_BROKER))
    case("a capability", "invalid", joined(CAP_HEADER, CAP, BY_BROKER))
    case("at its end", "expired", joined(SESSION_HEADER, SESSION, BY_BROKER), NOW + 3600)
    case("before it begins", "expired", joined(SESSION_HEADER, SESSION, BY_BROKER), NOW - 6)
    return {"keys": jwks(BROKER), "private": scalar(BROKER), "issuer": ISSUER, "taken": taken, "refused": refused}


# Web identities


def web_identities():
    made = []
    for name, whose, jti in [("an operator's", ADA, "w-1"), ("an agent's", AGENT, "w-2")]:
        claims = vault.web_identity(ISSUER, whose, NOW, jti)
        token = joined({"alg": "ES256", "typ": "JWT", "kid": BROKER_ID}, claims, BY_BROKER)
        made.append({"name": name, "issuer": ISSUER, "actor": whose, "iat": NOW, "jti": jti, "claims": claims, "token": token})
    tags = {
        "taken": [ADA, "a", "0", "oidc:https://id.example/ada", "a._-/:", "a" * 256],
        "refused": ["", "*", "?", "${aws:userid}", "$", "{", "}", "A", "a b", "a*", "a?b", "a\0", "\u00e4", "a\n", "a,b", "a=b", "a+b", "a@b", "%2a", "a\\b", "a" * 257],
    }  # fmt: skip
    return {"keys": jwks(BROKER), "private": scalar(BROKER), "made": made, "tag_values": tags}


# The check


def check(name, cases):
    return {"keks": check_keks, "envelopes": check_envelopes, "caps": check_caps, "proofs": check_proofs,
            "sessions": check_sessions, "web_identities": check_web_identities}[name](cases)  # fmt: skip


def refuses(reason, read):
    try:
        read()
    except Refused as refused:
        return str(refused) == reason
    return False


def check_keks(cases):
    for case in cases["current"]:
        kek = vault.kek(bytes.fromhex(case["secret"]), case["operator"], case["actor"])
        yield case["name"], kek.hex() == case["kek"]
    for case in cases["old"]:
        message = vault.old_kek_message(case["wallet"], case["service"])
        kek = vault.old_kek(bytes.fromhex(case["signature"]))
        yield case["name"], (message, kek.hex()) == (case["message"], case["kek"])


def check_envelopes(cases):
    sealed = {}
    for case in cases["sealed"]:
        kek, plaintext, salt = bytes.fromhex(case["kek"]), bytes_of(case["plaintext"]), bytes.fromhex(case["salt"])
        envelope = vault.seal(kek, case, case["epoch"], case["generation"], plaintext, salt)
        sealed[case["name"]] = envelope
        yield case["name"], is_told(envelope, case) and vault.open_envelope(kek, case, envelope) == plaintext
    for case in cases["old"]:
        kek, plaintext = bytes.fromhex(case["kek"]), bytes_of(case["plaintext"])
        envelope = vault.old_seal(kek, case, plaintext, bytes.fromhex(case["nonce"]))
        yield case["name"], is_told(envelope, case) and vault.old_open(kek, case, envelope) == plaintext
    for group, read in [("refused", vault.open_envelope), ("old_refused", vault.old_open)]:
        for case in cases[group]:
            if "slices" in case:
                envelope = b"".join(sealed[case["of"]][start:end] for start, end in case["slices"])
            else:
                envelope = bytes.fromhex(case["envelope"])
            yield case["name"], refuses(case["reason"], lambda: read(bytes.fromhex(case["kek"]), case, envelope))


def is_told(envelope, case):
    return told(envelope) == {name: bytes.fromhex(case[name]) for name in ("envelope", "sha256") if name in case}


def check_caps(cases):
    for case in cases["taken"] + cases["refused"]:
        read = lambda: vault.verify_cap(case["token"], cases["keys"], cases["issuer"], case["now"], case["request"])
        yield case["name"], refuses(case["reason"], read) if "reason" in case else read() == case["claims"]


def check_proofs(cases):
    for case in cases["taken"] + cases["refused"]:
        read = lambda: vault.verify_proof(case["proof"], case["request"], case["expected"], case["now"])
        if "reason" in case:
            yield case["name"], refuses(case["reason"], read)
        else:
            claims = case["claims"]
            yield case["name"], read() == {"device": cases["device"], "jti": claims["jti"], "iat": claims["iat"]}


def check_sessions(cases):
    for case in cases["taken"] + cases["refused"]:
        read = lambda: vault.verify_session(case["token"], cases["keys"], cases["issuer"], case["now"])
        yield case["name"], refuses(case["reason"], read) if "reason" in case else read() == case["claims"]


def check_web_identities(cases):
    for case in cases["made"]:
        claims = vault.web_identity(case["issuer"], case["actor"], case["iat"], case["jti"])
        header, body, _ = case["token"].split(".")
        yield case["name"], json.loads(vault.decode(body)) == claims == case["claims"]


if __name__ == "__main__":
    main()
