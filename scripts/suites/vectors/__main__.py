"""The vectors of the vault against a second implementation (vault.py).

    python3 scripts/suites/vectors check FOLDER   every case of the files there, one line each
    python3 scripts/suites/vectors write FOLDER   writes the files; the same bytes each time

All keys in them are made from published words and protect nothing.
"""

import json
import sys
from pathlib import Path

import vault
from caps import caps
from envelopes import bytes_of, envelopes, keks, told
from proofs import proofs
from sessions import sessions, web_identities
from vault import Refused


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
