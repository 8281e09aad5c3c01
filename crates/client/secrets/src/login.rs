//! A login at the broker: where it is kept, and whose it is.

use api::Secret;
use credentials::{Endpoint, Result};
use model::{Actor, DeviceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::place::Place;

/// A login that is kept.
pub struct Login {
    /// The session token.
    pub token: Secret,
    /// Whose actor it is; for an operator the same as `actor`.
    pub operator: Actor,
    /// Who is logged in.
    pub actor: Actor,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
    /// The device that it is bound to; without it servers hand nothing over for it.
    pub device: Option<DeviceId>,
}

/// What of a session's claims is needed here. Nothing is decided by them: servers verify the
/// token, this side only looks up whose it is.
#[derive(Deserialize)]
struct Claims {
    sub: Actor,
    operator: Actor,
    exp: i64,
    #[serde(default)]
    device: Option<DeviceId>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    broker: Endpoint,
    token: Secret,
}

impl Login {
    /// From a session token; `None` where it is none.
    pub fn of(token: Secret) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        Some(Self {
            operator: claims.operator,
            actor: claims.sub,
            ends: claims.exp,
            device: claims.device,
            token,
        })
    }

    /// Whether the device that it is bound to can begin another in its place. A person logs in
    /// again.
    pub fn is_renewable(&self) -> bool {
        self.device.is_some() && !self.is_operator()
    }

    /// Whether it is an operator's own, not an agent's.
    pub fn is_operator(&self) -> bool {
        self.operator == self.actor
    }
}

/// Where logins at brokers are kept, one for each.
#[derive(Clone)]
pub struct Logins(Place);

impl Logins {
    /// In this place.
    pub fn new(place: Place) -> Self {
        Self(place)
    }

    /// The login at a broker, whether or not it has ended; `None` where there is none.
    ///
    /// # Errors
    /// The place is unreadable, exposed or locked, or holds something else.
    pub fn load(&self, broker: &Endpoint) -> Result<Option<Login>> {
        let name = name(broker);
        let Some(bytes) = self.0.load(&name)? else {
            return Ok(None);
        };
        let damaged = || self.0.damaged(&name);
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if kept.broker != *broker {
            return Ok(None);
        }
        Login::of(kept.token).map(Some).ok_or_else(damaged)
    }

    /// Keeps a login in place of an earlier one at the same broker.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn save(&self, broker: &Endpoint, token: &Secret) -> Result<()> {
        let token = secrecy::SecretString::from(token.expose()).into();
        let kept = Kept {
            broker: broker.clone(),
            token,
        };
        let name = name(broker);
        let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
        serde_json::to_writer(&mut *bytes, &kept).map_err(|_| self.0.damaged(&name))?;
        self.0.save(&name, &bytes)
    }

    /// Forgets a login; whether there was one.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(&self, broker: &Endpoint) -> Result<bool> {
        self.0.forget(&name(broker))
    }

    /// Where that is, as people read it.
    pub fn shown(&self, broker: &Endpoint) -> String {
        self.0.shown(&name(broker))
    }
}

/// No two addresses meet under one name.
fn name(broker: &Endpoint) -> String {
    let hash = Sha256::digest(broker.as_str());
    let hash = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&hash[..12]);
    format!("session-{hash}")
}

#[cfg(test)]
mod tests {
    use credentials::Paths;

    use super::*;

    fn token(sub: &Actor, operator: &Actor) -> Secret {
        let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
        let claims = serde_json::json!({ "sub": sub, "operator": operator, "exp": 7 });
        let text = format!("{}.{}.x", encode("{}"), encode(&claims.to_string()));
        secrecy::SecretString::from(text).into()
    }

    #[test]
    fn a_login_is_kept_for_its_broker_and_says_whose_it_is() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let logins = Logins::new(Place::in_files(&Paths::under(home.path())));
        let broker: Endpoint = "https://b.example".parse().expect("an address");
        let other: Endpoint = "https://c.example".parse().expect("an address");
        assert!(logins.load(&broker).expect("readable").is_none());
        let operator = Actor::from_oidc("https://i", "ada").expect("an actor");
        let agent = operator.agent("bot").expect("an agent");
        logins
            .save(&broker, &token(&agent, &operator))
            .expect("kept");
        let login = logins.load(&broker).expect("readable").expect("there");
        assert!(!login.is_operator() && login.actor == agent && login.ends == 7);
        assert!(logins.load(&other).expect("readable").is_none());
        assert!(logins.forget(&broker).expect("gone"));
        assert!(logins.load(&broker).expect("readable").is_none());
    }

    #[test]
    fn what_is_no_session_is_none() {
        for text in ["", "a.b", "a.e30.c", "a.!.c"] {
            let token = secrecy::SecretString::from(text).into();
            assert!(Login::of(token).is_none(), "{text}");
        }
    }
}
