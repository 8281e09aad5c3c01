"""Proofs of possession: good ones, and what must be refused."""

import hashlib
import json

import vault
from caps import DEVICE_ID, scalar
from names import DEVICE, NOW, OTHER_DEVICE, URL, flipped
from tokens import bad_tokens, by, joined, respelled, without
from vault import encode


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
