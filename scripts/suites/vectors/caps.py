"""Capabilities: good ones, and what must be refused."""

import json

import vault
from names import ADA, AGENT, BROKER, DEVICE, ISSUER, NOW, ORDER, OTHER_BROKER, jwks
from tokens import bad_tokens, by, joined, respelled, without
from vault import encode


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
