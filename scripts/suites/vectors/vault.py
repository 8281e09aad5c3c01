"""The vault's formats a second time, on another library. The other files here hold
crates/core/vault/vectors against it."""

import base64
import hashlib
import hmac
import json
import re

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

CHUNK, TAG, LONGEST = 16 * 1024, 16, 64 * 1024
ACTOR = re.compile(r"[0-9a-f]{64}")
SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
JTI = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEVICE = re.compile(r"[A-Za-z0-9_-]{43}")


class Refused(Exception):
    """With the reason."""


def lp(text):
    return len(text).to_bytes(2, "big") + text.encode()


# Keys


def kek(secret, operator, actor):
    info = b"artifacts.cred" + lp(operator) + lp(actor)
    return HKDF(hashes.SHA256(), 32, b"artifacts.kek.v2", info).derive(secret)


def old_kek(signature):
    return hashlib.sha256(b"agentkeys.kek-derive.v1" + signature).digest()


def old_kek_message(wallet, service):
    return f"agentkeys.kek.v1:{wallet}:{service}"


# Envelopes


def derived(key, salt, context, label=b"AEAD_AES_256_GCM"):
    info = b"c2sp.org/chunked-encryption@v1+" + label + b"\0" + salt + context
    okm = HKDFExpand(hashes.SHA512(), 32 + 12 + 32, info).derive(key)
    return okm[:32], okm[32:44], okm[44:]


def nonce(base, number):
    return (int.from_bytes(base, "big") ^ number).to_bytes(12, "big")


def chunked_seal(key, salt, context, plaintext):
    cipher, base, commitment = derived(key, salt, context)
    out = salt + commitment
    for number in range(len(plaintext) // CHUNK + 1):
        chunk = plaintext[number * CHUNK : (number + 1) * CHUNK]
        out += AESGCM(cipher).encrypt(nonce(base, number), chunk, None)
    return out


def context(header, place):
    return b"artifacts.envelope.10" + header + b"".join(lp(place[part]) for part in ("operator", "actor", "service"))


def seal(key, place, epoch, generation, plaintext, salt):
    header = b"\x10" + epoch.to_bytes(4, "big") + generation.to_bytes(8, "big")
    return header + chunked_seal(key, salt, context(header, place), plaintext)


def open_envelope(key, place, envelope):
    if not envelope:
        raise Refused("envelope_malformed")
    if envelope[0] != 0x10:
        raise Refused("envelope_version")
    header, salt, commitment, sealed = envelope[:13], envelope[13:37], envelope[37:69], envelope[69:]
    opened = len(sealed) - (len(sealed) // (CHUNK + TAG) + 1) * TAG
    if len(sealed) % (CHUNK + TAG) < TAG or opened > LONGEST:
        raise Refused("envelope_malformed")
    cipher, base, expected = derived(key, salt, context(header, place))
    if not hmac.compare_digest(commitment, expected):
        raise Refused("envelope_invalid")
    plaintext = b""
    for number in range(len(sealed) // (CHUNK + TAG) + 1):
        chunk = sealed[number * (CHUNK + TAG) : (number + 1) * (CHUNK + TAG)]
        try:
            plaintext += AESGCM(cipher).decrypt(nonce(base, number), chunk, None)
        except InvalidTag:
            raise Refused("envelope_invalid") from None
    return plaintext


def old_owner(place):
    """The version byte and the additional data."""
    if "wallet" in place:
        return 1, f"agentkeys.cred.aad.v1|{place['wallet']}|{place['service']}".encode()
    return 2, f"agentkeys.cred.aad.v2|{place['actor']}|{place['service']}".encode()


def old_seal(key, place, plaintext, iv):
    version, aad = old_owner(place)
    return bytes([version]) + iv + AESGCM(key).encrypt(iv, plaintext, aad)


def old_open(key, place, envelope):
    version, aad = old_owner(place)
    if not envelope:
        raise Refused("envelope_malformed")
    if envelope[0] != version:
        raise Refused("envelope_version")
    if not 29 <= len(envelope) <= 29 + LONGEST:
        raise Refused("envelope_malformed")
    try:
        return AESGCM(key).decrypt(envelope[1:13], envelope[13:], aad)
    except InvalidTag:
        raise Refused("envelope_invalid") from None


# Tokens


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not the canonical spelling")
    return data


def digest(data):
    return encode(hashlib.sha256(data).digest())


def jwk(key):
    numbers = key.public_numbers() if hasattr(key, "public_numbers") else key.public_key().public_numbers()
    part = lambda number: encode(number.to_bytes(32, "big"))
    return {"kty": "EC", "crv": "P-256", "x": part(numbers.x), "y": part(numbers.y)}


def thumbprint(jwk):
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return digest(json.dumps(members, separators=(",", ":")).encode())


def raw_sign(key, data, algorithm=hashes.SHA256(), size=32):
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(algorithm, deterministic_signing=True)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def public_key(jwk):
    x, y = (decode(jwk[name]) for name in ("x", "y"))
    if len(x) != 32 or len(y) != 32:
        raise ValueError("a coordinate is too short or too long")
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()).public_key()


def read_object(data, members, optional=()):
    """A JSON object with these members and no others, none of them twice."""

    def unique(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member is there twice")
        return dict(pairs)

    found = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=lambda _: int("no number"))
    return is_object(found, members, optional)


def is_object(found, members, optional=()):
    if not isinstance(found, dict) or not set(members) <= set(found) <= set(members) | set(optional):
        raise ValueError("other members than are known")
    for name, value in found.items():
        if not {**dict(members), **dict(optional)}[name](value):
            raise ValueError(name)
    return found


def text(value):
    return isinstance(value, str)


def form(pattern):
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def integer(bits, signed=True):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def device(value):
    return form(DEVICE)(value) and encode(base64.urlsafe_b64decode(value + "=")) == value


def jws(token, typ, third, key_of, members, optional=()):
    """Header and claims; `third` is the header's third member."""
    if len(token) > 4096 or token.count(".") != 2:
        raise ValueError("form")
    header, claims, signature = token.split(".")
    head = read_object(decode(header), {"alg": text, "typ": text, **third})
    if head["alg"] != "ES256" or head["typ"] != typ:
        raise ValueError("algorithm or type")
    raw = decode(signature)
    if len(raw) != 64:
        raise ValueError("a signature has 64 bytes")
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key_of(head).verify(der, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    return head, read_object(decode(claims), members, optional)


def named(keys):
    known = {thumbprint(key): public_key(key) for key in keys["keys"] if key["kid"] == thumbprint(key)}
    return {"kid": text}, lambda head: known[head["kid"]]


CAP = {
    "iss": text, "aud": text, "sub": form(ACTOR), "operator": form(ACTOR), "op": text, "data_class": text,
    "epoch": integer(32, signed=False), "iat": integer(64), "nbf": integer(64), "exp": integer(64), "jti": text,
    "cnf": lambda value: bool(is_object(value, {"jkt": device})),
}  # fmt: skip


def verify_cap(token, keys, issuer, now, request):
    third, key_of = named(keys)
    optional = {"service": form(SERVICE), "target": form(ACTOR)}
    try:
        _, cap = jws(token, "cap+jwt", third, key_of, CAP, optional)
    except (ValueError, KeyError, InvalidSignature, RecursionError):
        raise Refused("cap_signature_invalid") from None
    if cap["iss"] != issuer or cap["aud"] != "artifacts-worker" or not JTI.fullmatch(cap["jti"]):
        raise Refused("cap_signature_invalid")
    begins = min(cap["iat"], cap["nbf"])
    if max(cap["iat"], cap["nbf"]) > now + 5 or not 1 <= cap["exp"] - begins <= 300 or now >= cap["exp"]:
        raise Refused("cap_expired")
    about = {"store": {"service"}, "fetch": {"service"}, "list": set(), "teardown": {"target"}}
    if cap["op"] not in about or cap["data_class"] != "credentials" or cap["op"] != request["op"]:
        raise Refused("cap_op_mismatch")
    if "service" in cap:
        cap["service"] = cap["service"].lower()
    wanted = {name: request[name] for name in ("service", "target") if request.get(name)}
    given = {name: cap[name] for name in ("service", "target") if name in cap}
    if given != wanted or set(given) != about[cap["op"]]:
        raise Refused("cap_service_mismatch")
    return cap


def verify_proof(proof, request, expected, now):
    if proof is None:
        raise Refused("proof_missing")
    members = {"htm": text, "htu": text, "iat": integer(64), "jti": text, "bdh": text}
    ec_jwk = {"kty": lambda v: v == "EC", "crv": lambda v: v == "P-256", "x": text, "y": text}
    third = {"jwk": lambda value: bool(is_object(value, ec_jwk))}
    try:
        head, claims = jws(proof, "cap-proof+jwt", third, lambda head: public_key(head["jwk"]), members, {"ath": text})
    except (ValueError, KeyError, InvalidSignature, RecursionError):
        raise Refused("proof_invalid") from None
    token = request.get("token")
    good = (
        expected in (None, thumbprint(head["jwk"]))
        and abs(claims["iat"] - now) <= 60
        and JTI.fullmatch(claims["jti"])
        and claims["htm"] == request["method"]
        and claims["htu"] == request["url"]
        and claims.get("ath") == (None if token is None else digest(token.encode()))
        and claims["bdh"] == digest(bytes.fromhex(request["body"]))
    )
    if not good:
        raise Refused("proof_invalid")
    return {"device": thumbprint(head["jwk"]), "jti": claims["jti"], "iat": claims["iat"]}


def verify_session(token, keys, issuer, now):
    third, key_of = named(keys)
    members = {
        "iss": text, "aud": text, "sub": form(ACTOR), "operator": form(ACTOR), "iat": integer(64),
        "exp": integer(64), "jti": text,
    }  # fmt: skip
    try:
        _, session = jws(token, "session+jwt", third, key_of, members, {"device": device})
    except (ValueError, KeyError, InvalidSignature, RecursionError):
        raise Refused("invalid") from None
    if session["iss"] != issuer or session["aud"] != "artifacts" or not JTI.fullmatch(session["jti"]):
        raise Refused("invalid")
    if session["exp"] <= now or session["iat"] > now + 5:
        raise Refused("expired")
    return session


def web_identity(issuer, actor, iat, jti):
    """The claims."""
    tags = {"artifacts_actor": [actor]}
    return {
        "iss": issuer, "sub": actor, "aud": "sts.amazonaws.com", "iat": iat, "nbf": iat, "exp": iat + 300, "jti": jti,
        "https://aws.amazon.com/tags": {"principal_tags": tags, "transitive_tag_keys": ["artifacts_actor"]},
        "https://aws.amazon.com/tags/principal_tags": tags,
    }  # fmt: skip
