//! Web identities: what an STS gives an actor's storage keys for.

use model::Actor;
use secrecy::SecretString;
use serde::Serialize;

use super::is_jti;
use crate::jws;
use crate::key::SignEs256;

const TYPE: &str = "JWT";
const AUDIENCE: &str = "sts.amazonaws.com";
const TAG: &str = "artifacts_actor";

/// For how many seconds a web identity counts.
pub const WEB_IDENTITY_LIFETIME: i64 = 300;

/// A web identity, for one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// The broker, as the STS knows it.
    pub iss: String,
    /// Whose prefix of the bucket.
    pub actor: Actor,
    /// When it was made, in seconds since 1970 (UTC).
    pub iat: i64,
    /// Its number.
    pub jti: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'static str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: &'a str,
    /// As AWS reads them.
    #[serde(rename = "https://aws.amazon.com/tags")]
    tags: Tags<'a>,
    /// As SeaweedFS does.
    #[serde(rename = "https://aws.amazon.com/tags/principal_tags")]
    principal_tags: PrincipalTags<'a>,
}

#[derive(Serialize)]
struct Tags<'a> {
    principal_tags: PrincipalTags<'a>,
    transitive_tag_keys: [&'static str; 1],
}

#[derive(Serialize)]
struct PrincipalTags<'a> {
    artifacts_actor: [&'a str; 1],
}

/// Signs a web identity, which counts for [`WEB_IDENTITY_LIFETIME`] seconds. `None` if its number
/// is none, or if the key cannot be used now.
pub fn mint_web_identity(identity: &WebIdentity, key: &dyn SignEs256) -> Option<SecretString> {
    let actor = identity.actor.as_str();
    if !is_jti(&identity.jti) || !is_tag_value(actor) {
        return None;
    }
    let tags = || PrincipalTags {
        artifacts_actor: [actor],
    };
    let claims = Claims {
        iss: &identity.iss,
        sub: actor,
        aud: AUDIENCE,
        iat: identity.iat,
        nbf: identity.iat,
        exp: identity.iat.checked_add(WEB_IDENTITY_LIFETIME)?,
        jti: &identity.jti,
        tags: Tags {
            principal_tags: tags(),
            transitive_tag_keys: [TAG],
        },
        principal_tags: tags(),
    };
    jws::sign(TYPE, &claims, key)
}

/// Whether a value may stand in a tag: `*`, `?` and `${` act as wildcards in some stores, so
/// only `[a-z0-9:/._-]` may.
pub fn is_tag_value(value: &str) -> bool {
    let good = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b':' | b'/' | b'.' | b'_' | b'-')
    };
    (1..=256).contains(&value.len()) && value.bytes().all(good)
}
