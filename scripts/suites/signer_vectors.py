"""A second implementation of the signer's file and wallets, on Python's cryptography.

`signer_vectors.py write FOLDER` writes sealed.json, sealed_kms.json and wallets.json; `check FOLDER`
computes them anew and prints `pass NAME` or `fail NAME` for each.
"""

import hashlib
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def sealed(passphrase, salt, *rest):
    parameters = struct.pack(">III", 65536, 3, 1) + salt
    key = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=65536).derive(passphrase.encode())
    return sealed_file(1, parameters, key, *rest)


def sealed_by_kms(arn, trust_domain, wrapped, key, *rest):
    parts = (arn.encode(), trust_domain.encode(), wrapped)
    return sealed_file(2, b"".join(struct.pack(">H", len(part)) + part for part in parts), key, *rest)


def sealed_file(kind, parameters, key, verifier_nonce, epochs_nonce, begun, secrets):
    head = b"artsignr" + bytes([1, kind]) + struct.pack(">H", len(parameters)) + parameters

    def part(name, nonce, plain):
        context = b"".join(struct.pack(">I", len(p)) + p for p in (b"artifacts.signer.1", name, head))
        return nonce + AESGCM(key).encrypt(nonce, plain, context)

    plain = b"".join(struct.pack(">q", moment) + secret for moment, secret in zip(begun, secrets))
    return head + part(b"verifier", verifier_nonce, b"") + part(b"epochs", epochs_nonce, plain)


def keccak256(message):
    """Keccak-f[1600] with a rate of 136 bytes and the old padding, as Ethereum has it."""
    mask = (1 << 64) - 1
    turn = lambda word, by: ((word << by) | (word >> (64 - by))) & mask if by else word
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if register & 1:
                constant |= 1 << ((1 << bit) - 1)
            register = ((register << 1) ^ (0x71 if register & 0x80 else 0)) & 0xFF
        constants.append(constant)
    padded = bytearray(message) + b"\x01" + b"\x00" * (-(len(message) + 1) % 136)
    padded[-1] |= 0x80
    state = [0] * 25
    for block in range(0, len(padded), 136):
        for lane in range(17):
            state[lane] ^= int.from_bytes(padded[block + 8 * lane : block + 8 * lane + 8], "little")
        for constant in constants:
            column = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
            parity = [column[(x - 1) % 5] ^ turn(column[(x + 1) % 5], 1) for x in range(5)]
            state = [word ^ parity[at % 5] for at, word in enumerate(state)]
            x, y, held = 1, 0, state[1]
            for step in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                held, state[x + 5 * y] = state[x + 5 * y], turn(held, (step + 1) * (step + 2) // 2 % 64)
            state = [
                state[at] ^ (~state[at - at % 5 + (at + 1) % 5] & mask & state[at - at % 5 + (at + 2) % 5])
                for at in range(25)
            ]
            state[0] ^= constant
    return b"".join(word.to_bytes(8, "little") for word in state[:4])


def wallet(secret, actor):
    for counter in range(256):
        info = b"artifacts.wallet" + struct.pack(">H", len(actor)) + actor.encode() + bytes([counter])
        key = HKDF(hashes.SHA256(), 32, b"artifacts.wallet.v1", info).derive(secret)
        number = int.from_bytes(key, "big")
        if 0 < number < ORDER:
            return ec.derive_private_key(number, ec.SECP256K1())


def point(key):
    numbers = key.public_key().public_numbers()
    return numbers.x, numbers.y


def address(key):
    x, y = point(key)
    return "0x" + keccak256(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:].hex()


def signature(key, message):
    text = message.encode()
    digest = keccak256(b"\x19Ethereum Signed Message:\n" + str(len(text)).encode() + text)
    how = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
    r, s = utils.decode_dss_signature(key.sign(digest, how))
    low = min(s, ORDER - s)
    # The parity of R's y, found by trying both: R = (z G + r Q) / s.
    parity = parity_of(r, low, digest, point(key))
    return "0x" + r.to_bytes(32, "big").hex() + low.to_bytes(32, "big").hex() + f"{27 + parity:02x}"


PRIME = 2**256 - 2**32 - 977
BASE = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(one, other):
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % PRIME == 0:
        return None
    if one == other:
        slope = 3 * one[0] ** 2 * pow(2 * one[1], -1, PRIME)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, PRIME)
    x = (slope**2 - one[0] - other[0]) % PRIME
    return x, (slope * (one[0] - x) - one[1]) % PRIME


def times(number, what):
    result = None
    while number:
        if number & 1:
            result = add(result, what)
        what, number = add(what, what), number >> 1
    return result


def parity_of(r, s, digest, public):
    inverse = pow(s, -1, ORDER)
    z = int.from_bytes(digest, "big")
    found = add(times(z * inverse % ORDER, BASE), times(r * inverse % ORDER, public))
    assert found[0] % ORDER == r
    return found[1] & 1


def bytes_of(name, length):
    return hashlib.shake_128(name.encode()).digest(length)


def sealed_vectors():
    for number, count in enumerate((1, 3)):
        name = f"sealed {number}"
        salt, nonces = bytes_of(name + " salt", 16), [bytes_of(f"{name} nonce {n}", 12) for n in range(2)]
        secrets = [bytes_of(f"{name} secret {n}", 32) for n in range(count)]
        begun = [1_790_000_000 + 86_400 * n for n in range(count)]
        passphrase = ("correct horse battery", "Käse, Brot und Wein: 12 €")[number]
        yield {
            "passphrase": passphrase,
            "salt": salt.hex(),
            "verifier_nonce": nonces[0].hex(),
            "epochs_nonce": nonces[1].hex(),
            "begun": begun,
            "secrets": [secret.hex() for secret in secrets],
            "file": sealed(passphrase, salt, nonces[0], nonces[1], begun, secrets).hex(),
        }


def sealed_kms_vectors():
    for number, count in enumerate((1, 3)):
        name = f"sealed by kms {number}"
        arn = "arn:aws:kms:eu-central-1:111122223333:key/" + ("1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-0f")[number]
        domain = ("artifacts", "vault.example")[number]
        wrapped, key = bytes_of(f"{name} wrapped", 184), bytes_of(f"{name} key", 32)
        nonces = [bytes_of(f"{name} nonce {n}", 12) for n in range(2)]
        secrets = [bytes_of(f"{name} secret {n}", 32) for n in range(count)]
        begun = [1_790_000_000 + 86_400 * n for n in range(count)]
        yield {
            "kms_key": arn,
            "trust_domain": domain,
            "wrapped": wrapped.hex(),
            "key": key.hex(),
            "verifier_nonce": nonces[0].hex(),
            "epochs_nonce": nonces[1].hex(),
            "begun": begun,
            "secrets": [secret.hex() for secret in secrets],
            "file": sealed_by_kms(arn, domain, wrapped, key, nonces[0], nonces[1], begun, secrets).hex(),
        }


def wallet_vectors():
    for number in range(3):
        secret, actor = bytes_of(f"wallet {number} secret", 32), bytes_of(f"wallet {number} actor", 32).hex()
        key = wallet(secret, actor)
        message = f"agentkeys.kek.v1:{address(key)}:service-{number}"
        yield {
            "secret": secret.hex(),
            "actor": actor,
            "address": address(key),
            "message": message,
            "signature": signature(key, message),
        }


def main(action, folder):
    written_by = (("sealed", sealed_vectors), ("sealed_kms", sealed_kms_vectors), ("wallets", wallet_vectors))
    for name, vectors in ((name, list(make())) for name, make in written_by):
        path = pathlib.Path(folder, name + ".json")
        if action == "write":
            path.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")
            continue
        written = json.loads(path.read_text())
        for number, vector in enumerate(vectors):
            same = number < len(written) and written[number] == vector
            print("pass" if same and len(written) == len(vectors) else "fail", f"signer_{name}_{number}")


if __name__ == "__main__":
    main(*sys.argv[1:])
