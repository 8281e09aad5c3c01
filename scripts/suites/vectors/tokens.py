"""What no reader of any type may take, however well it is signed."""

import hmac
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import vault
from names import ORDER, flipped, private_key
from vault import encode


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
