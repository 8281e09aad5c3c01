//! Capabilities that are held, and when they go.

use std::collections::HashMap;
use std::sync::Arc;

use api::Secret;
use api::vault::OperatorEvent;
use async_trait::async_trait;
use model::{Actor, DeviceId};
use parking_lot::Mutex;
use secrets::{Caps, HeldCap, Kind, Login, Result, SecretError, Wanted};
use serde::Deserialize;
use tokio::time::Instant;
use vault::SignEs256;

use crate::liveness::Liveness;
use crate::upstream::Upstream;

/// No capability counts for longer, whatever a broker says.
const LONGEST: u32 = 300;
/// More than any machine's programs want at one time.
const MOST: usize = 4096;

/// Whose capability for what, bound to which device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    operator: Actor,
    actor: Actor,
    wanted: Wanted,
    device: DeviceId,
}

struct Kept {
    cap: Arc<Secret>,
    epoch: Option<u32>,
    ends: Instant,
}

/// The capabilities.
pub struct CapCache {
    upstream: Arc<dyn Upstream>,
    liveness: Arc<Liveness>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Slot, Kept>,
    /// Grows with each event: a capability that was asked for before one is not kept after it.
    events: u64,
}

/// What of a capability's claims is needed here; the worker judges it.
#[derive(Deserialize)]
struct Claims {
    epoch: u32,
}

impl CapCache {
    /// An empty one.
    pub fn new(upstream: Arc<dyn Upstream>, liveness: Arc<Liveness>) -> Self {
        Self {
            upstream,
            liveness,
            state: Mutex::default(),
        }
    }

    /// Drops what an event says.
    pub fn heed(&self, event: &OperatorEvent) {
        let mut state = self.state.lock();
        state.events += 1;
        match event {
            OperatorEvent::Drop(what) => state.kept.retain(|slot, _| {
                let of_actor = what.actor.as_ref().is_none_or(|actor| *actor == slot.actor);
                let of_service = match (&what.service, slot.wanted.service()) {
                    (Some(service), Some(of)) => service == of,
                    // A right to list or to delete everything is about every service.
                    _ => true,
                };
                !(of_actor && of_service)
            }),
            OperatorEvent::DeviceRevoked { device } => {
                state.kept.retain(|slot, _| slot.device != *device);
            }
            OperatorEvent::Epoch { epoch } => {
                let current = *epoch;
                let lasts = |kept: &Kept| kept.epoch.is_some_and(|of| of >= current);
                state.kept.retain(|_, kept| lasts(kept));
            }
            OperatorEvent::Resync => state.kept.clear(),
        }
    }

    /// How many are held that still count.
    pub fn count(&self) -> usize {
        let now = Instant::now();
        let state = self.state.lock();
        state.kept.values().filter(|kept| kept.ends > now).count()
    }

    fn slot(login: &Login, wanted: &Wanted, device: DeviceId) -> Slot {
        Slot {
            operator: login.operator.clone(),
            actor: login.actor.clone(),
            wanted: wanted.clone(),
            device,
        }
    }

    /// What of the broker's silence explains a failure.
    fn explained(&self, error: SecretError) -> SecretError {
        if error.kind != Kind::Temporary {
            return error;
        }
        let silent = self.liveness.silent_for();
        let since = silent.map_or_else(
            || "it was not heard since the daemon began".to_owned(),
            |silent| format!("it was heard last {} s ago", silent.as_secs()),
        );
        SecretError {
            message: format!(
                "{}; {since}, and no capability for this is held",
                error.message
            ),
            hint: "see whether the broker runs and can be reached from here, then try again; `artifacts daemon status` says when it is heard, and what is held goes on until it ends".into(),
            ..error
        }
    }
}

#[async_trait]
impl Caps for CapCache {
    async fn login(&self) -> Result<Login> {
        self.upstream.login().await
    }

    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<HeldCap> {
        self.liveness.nudge();
        let key = self.upstream.key()?;
        let slot = Self::slot(login, wanted, key.public_jwk().thumbprint());
        let before = {
            let mut state = self.state.lock();
            let now = Instant::now();
            match state.kept.get(&slot) {
                Some(kept) if kept.ends > now => {
                    return Ok(HeldCap {
                        cap: kept.cap.clone(),
                        key,
                        is_fresh: false,
                    });
                }
                Some(_) => drop(state.kept.remove(&slot)),
                None => {}
            }
            state.events
        };
        let asked = Instant::now();
        let answer = self.upstream.cap(login, wanted).await;
        let answer = answer.map_err(|error| self.explained(error))?;
        let cap = Arc::new(answer.cap);
        let pace = self.liveness.pace();
        let seconds = u32::try_from(answer.expires_in).unwrap_or(LONGEST);
        let lasts = pace.second * seconds.min(LONGEST);
        let mut state = self.state.lock();
        if state.events == before {
            if state.kept.len() >= MOST {
                let now = Instant::now();
                state.kept.retain(|_, kept| kept.ends > now);
            }
            if state.kept.len() < MOST {
                let kept = Kept {
                    cap: cap.clone(),
                    epoch: epoch(&cap),
                    ends: asked + lasts.saturating_sub(pace.margin),
                };
                state.kept.insert(slot, kept);
            }
        }
        Ok(HeldCap {
            cap,
            key,
            is_fresh: true,
        })
    }

    fn refused(&self, login: &Login, wanted: &Wanted, cap: &Secret) {
        let Ok(key) = self.upstream.key() else { return };
        let slot = Self::slot(login, wanted, key.public_jwk().thumbprint());
        let mut state = self.state.lock();
        // Not one that came since.
        let is_same = |kept: &Kept| kept.cap.expose() == cap.expose();
        if state.kept.get(&slot).is_some_and(is_same) {
            state.kept.remove(&slot);
        }
    }
}

fn epoch(cap: &Secret) -> Option<u32> {
    let payload = cap.expose().split('.').nth(1)?;
    let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Some(claims.epoch)
}
