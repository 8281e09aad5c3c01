"""Key-encryption keys, and envelopes: good ones, and what must be refused."""

import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import vault
from names import ADA, AGENT, BEN, OTHER_WALLET, PLACE, WALLET, actor, flipped, hexed, some_bytes


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
