//! The broker's word: signature, issuer, audience, type, times. It is needed, and it is not
//! enough: what follows is asked of others.

use std::sync::Arc;

use api::vault::Reason;
use model::Actor;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use vault::{Cap, VerifyKeys, verify_cap};

use crate::app::App;
use crate::outcome::Story;
use crate::recent::Recent;
use crate::refused::{Refused, Result};

/// Capabilities that were verified lately, so that one that is used often costs one signature.
/// Their times are judged anew with each use; other keys of the broker's make all of them new.
pub(crate) struct Verified(Mutex<Known>);

struct Known {
    keys: Option<Arc<VerifyKeys>>,
    caps: Recent<[u8; 32], Arc<Cap>>,
}

/// Some 4 MiB.
const ROOM: usize = 4_096;

impl Verified {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Known {
            keys: None,
            caps: Recent::new(ROOM),
        }))
    }

    /// One that counts now.
    fn get(&self, token: &[u8; 32], keys: &Arc<VerifyKeys>, now: i64) -> Option<Arc<Cap>> {
        let mut known = self.0.lock();
        known.follow(keys);
        let cap = known.caps.get(token).map(|cap| Arc::clone(cap))?;
        (cap.nbf <= now && now < cap.exp).then_some(cap)
    }

    fn put(&self, token: [u8; 32], keys: &Arc<VerifyKeys>, cap: &Arc<Cap>) {
        let mut known = self.0.lock();
        known.follow(keys);
        known.caps.put(token, Arc::clone(cap));
    }
}

impl Known {
    fn follow(&mut self, keys: &Arc<VerifyKeys>) {
        if self
            .keys
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, keys))
        {
            self.caps.clear();
            self.keys = Some(Arc::clone(keys));
        }
    }
}

pub(crate) async fn verify(app: &App, token: &str, story: &mut Story) -> Result<Arc<Cap>> {
    let away = |away| Refused::away(Reason::KeysUnavailable, &away);
    let keys = app.cap_keys.current().await.map_err(away)?;
    let cap = match with(app, token, &keys) {
        // Perhaps of a key that the broker has begun to use since.
        Err(Reason::CapSignatureInvalid) => match app.cap_keys.newer(&keys).await {
            Some(newer) => with(app, token, &newer),
            None => Err(Reason::CapSignatureInvalid),
        },
        verified => verified,
    }?;
    story.of_cap(&cap);
    Ok(cap)
}

fn with(app: &App, token: &str, keys: &Arc<VerifyKeys>) -> Result<Arc<Cap>, Reason> {
    let now = app.now();
    let digest = Sha256::digest(token).into();
    if let Some(cap) = app.verified.get(&digest, keys, now) {
        return Ok(cap);
    }
    let cap = Arc::new(verify_cap(token, keys, &app.settings.issuer, now)?);
    app.verified.put(digest, keys, &cap);
    Ok(cap)
}

/// Whether a target is the operator, or the agent of this label: computed here, believed of nobody.
pub(super) fn owns(operator: &Actor, target: &Actor, label: Option<&str>) -> Result<()> {
    let owned = match label {
        None => target == operator,
        Some(label) => operator.agent(label).is_ok_and(|agent| agent == *target),
    };
    if owned {
        Ok(())
    } else {
        Err(Reason::CapServiceMismatch.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_operator_or_the_agent_of_the_label() {
        let operator = Actor::from_oidc("https://a", "o").unwrap();
        let other = Actor::from_oidc("https://a", "p").unwrap();
        let agent = operator.agent("builder").unwrap();
        let mismatch = Err(Reason::CapServiceMismatch.into());
        assert_eq!(owns(&operator, &operator, None), Ok(()));
        assert_eq!(owns(&operator, &agent, Some("builder")), Ok(()));
        assert_eq!(owns(&operator, &agent, None), mismatch);
        assert_eq!(owns(&operator, &agent, Some("builder2")), mismatch);
        assert_eq!(owns(&operator, &agent, Some("../x")), mismatch);
        assert_eq!(owns(&operator, &operator, Some("builder")), mismatch);
        assert_eq!(owns(&other, &agent, Some("builder")), mismatch);
    }
}
