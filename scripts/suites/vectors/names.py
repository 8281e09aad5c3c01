"""Names, keys and places that the cases are made of. All keys are made from published words and
protect nothing.
"""

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec

import vault


NOW = 1_800_000_000
ISSUER = "https://broker.example"
URL = "https://worker.example/v1/cred/fetch"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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


def flipped(data, at, bit=1):
    data = bytearray(data)
    data[at] ^= bit
    return bytes(data)
