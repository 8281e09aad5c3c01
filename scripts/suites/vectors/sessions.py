"""Sessions, and web identities."""

import vault
from caps import BROKER_ID, BY_BROKER, CAP, CAP_HEADER, DEVICE_ID, scalar
from names import ADA, AGENT, BROKER, ISSUER, NOW, OTHER_BROKER, jwks
from tokens import bad_tokens, joined, respelled


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
