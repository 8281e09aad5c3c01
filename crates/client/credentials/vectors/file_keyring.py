#!/usr/bin/env python3
"""Writes file_keyring.json: a file keyring, and the same broken in every way, by name.

This is a second implementation of the format that src/keyring/file describes, so that the
first one cannot drift unseen. It needs Python's `cryptography`, 44 or later. The answer is
always the same: salt, realm, ids and nonces are fixed here, and nowhere else.

    python3 file_keyring.py > file_keyring.json
"""

import hashlib
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

PASSWORD = b"correct horse"
MEMORY, PASSES, LANES = 65536, 3, 1
FORMAT = b"artifacts.keyring.1"
MAGIC = b"artkring"

nonces = 0


def fixed(label, length):
    return hashlib.sha256(b"file keyring vectors: " + label.encode()).digest()[:length]


SALT, REALM = fixed("salt", 16), fixed("realm", 16)
KEY = Argon2id(salt=SALT, length=32, iterations=PASSES, lanes=LANES, memory_cost=MEMORY).derive(PASSWORD)
ENTRIES = {
    "storage/default": b"ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nSECRET_ACCESS_KEY=wJalrXUtnFEMI\n",
    "identity/ada": b"",
    "session/ada": bytes(range(256)),
}
IDS = {name: fixed("id of " + name, 16) for name in ENTRIES}


def lp(part):
    return struct.pack(">H", len(part)) + part


def context(*parts):
    return b"".join(lp(part) for part in parts)


def seal(text, aad):
    global nonces
    nonces += 1
    nonce = fixed(f"nonce {nonces}", 12)
    return nonce + AESGCM(KEY).encrypt(nonce, text, aad)


def header():
    return MAGIC + bytes([1, 1]) + struct.pack(">III", MEMORY, PASSES, LANES) + SALT + REALM


def head(index):
    verifier = seal(b"", context(FORMAT, b"verifier", header()))
    return header() + verifier + seal(index, context(FORMAT, b"index", header()))


def index(names):
    return b"".join(lp(name.encode()) + IDS[name] for name in sorted(names))


def entry(name, identifier=None):
    identifier = identifier or IDS[name]
    aad = context(FORMAT, b"entry", REALM, name.encode(), identifier)
    return MAGIC + bytes([1]) + seal(ENTRIES[name], aad)


def file(name):
    return IDS[name].hex() + ".entry"


def changed(data, at, new):
    return data[:at] + new + data[at + len(new):]


def flipped(data, at):
    return changed(data, at, bytes([data[at] ^ 1]))


GOOD = {"head": head(index(ENTRIES))} | {file(name): entry(name) for name in ENTRIES}


def heads():
    good = GOOD["head"]
    damaged = "@/head is damaged: "
    number = lambda at, value: changed(good, at, struct.pack(">I", value))
    bounds = lambda what, value, least, most: (
        f"@/head asks for key derivation with {what} = {value}; from {least} to {most} is accepted"
    )
    memory = lambda value: (number(10, value), bounds("memory", value, 65536, 262144))
    passes = lambda value: (number(14, value), bounds("passes", value, 3, 8))
    lanes = lambda value: (number(18, value), bounds("lanes", value, 1, 4))
    wrong = "the password does not open the keyring @"
    own, ours = IDS["storage/default"], b"storage/default"
    return {
        "empty": (b"", damaged + "it is not a keyring's file"),
        "another file": (b"ACCESS_KEY_ID=x", damaged + "it is not a keyring's file"),
        "cut in the magic": (good[:7], damaged + "it is not a keyring's file"),
        "cut after the magic": (good[:8], damaged + "it ends too early"),
        "cut after the format": (good[:9], damaged + "it ends too early"),
        "cut in the header": (good[:40], damaged + "it ends too early"),
        "cut in the verifier": (good[:81], damaged + "it ends too early"),
        "without index": (good[:82], damaged + "its index was changed"),
        "cut in the index": (good[:100], damaged + "its index was changed"),
        "longer": (good + b"\0", damaged + "its index was changed"),
        "format 0": (changed(good, 8, b"\0"), "@/head has format 0; this version reads format 1"),
        "a later format": (changed(good, 8, b"\2"), "@/head has format 2; this version reads format 1"),
        "another derivation": (changed(good, 9, b"\2"), damaged + "its key derivation is not known"),
        "no memory": memory(0),
        "a little too little memory": memory(65535),
        "a little too much memory": memory(262145),
        "all the memory": memory(0xFFFFFFFF),
        "memory other than it was made with": (number(10, 65537), wrong),
        "no passes": passes(0),
        "one pass too few": passes(2),
        "one pass too many": passes(9),
        "passes for years": passes(0xFFFFFFFF),
        "no lanes": lanes(0),
        "one lane too many": lanes(5),
        "another salt": (flipped(good, 22), wrong),
        "another realm": (flipped(good, 38), wrong),
        "another verifier": (flipped(good, 60), wrong),
        "another index": (flipped(good, 90), damaged + "its index was changed"),
        "an index that ends in a name": (head(lp(ours)[:5]), damaged + "its index makes no sense"),
        "an index that ends in an id": (head(lp(ours) + own[:15]), damaged + "its index makes no sense"),
        "an index with a name twice": (head((lp(ours) + own) * 2), damaged + "its index makes no sense"),
        "an index with a name that is none": (head(lp(b"a/b/c") + own), damaged + "its index makes no sense"),
        "an index with a name that is no text": (head(lp(b"\xff/b") + own), damaged + "its index makes no sense"),
    }


def entries():
    name = "storage/default"
    mine, good, other = file(name), GOOD[file(name)], "session/ada"
    damaged = f"@/{mine} is damaged: "
    changes = damaged + "it was changed, or belongs to another keyring"
    return {
        "an empty entry": ({mine: b""}, damaged + "it is not a keyring's file"),
        "an entry of the magic alone": ({mine: good[:8]}, damaged + "it ends too early"),
        "an entry without its seal": ({mine: good[:9]}, changes),
        "a cut entry": ({mine: good[:-1]}, changes),
        "a longer entry": ({mine: good + b"\0"}, changes),
        "an entry with another nonce": ({mine: flipped(good, 9)}, changes),
        "an entry with another text": ({mine: flipped(good, 21)}, changes),
        "an entry with another tag": ({mine: flipped(good, len(good) - 1)}, changes),
        "an entry of a later format": ({mine: changed(good, 8, b"\7")}, f"@/{mine} has format 7; this version reads format 1"),
        "two entries exchanged": ({mine: GOOD[file(other)], file(other): good}, changes),
        "an entry under another's id": ({mine: entry(name, IDS[other])}, changes),
        "a missing entry": ({mine: None}, damaged + "the index names it, but it is not there"),
        "a missing head": ({"head": None}, "@/head is damaged: it is not there, but entries are"),
    }


def shown(files):
    return {name: None if data is None else data.hex() for name, data in files.items()}


def main():
    broken = [(what, {"head": data}, error) for what, (data, error) in heads().items()]
    broken += [(what, files, error) for what, (files, error) in entries().items()]
    vectors = {
        "about": "Made by file_keyring.py. Bytes are in hex; @ stands for the keyring's folder.",
        "password": PASSWORD.decode(),
        "key": KEY.hex(),
        "salt": SALT.hex(),
        "realm": REALM.hex(),
        "header": header().hex(),
        "index": index(ENTRIES).hex(),
        "entries": [
            {"name": name, "file": file(name), "secret": secret.hex()} for name, secret in sorted(ENTRIES.items())
        ],
        "files": shown(GOOD),
        "broken_note": "`files` replaces these files of the keyring, null takes one away; then `storage/default` is read.",
        "broken": [{"name": name, "files": shown(files), "error": error} for name, files, error in broken],
    }
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    main()
