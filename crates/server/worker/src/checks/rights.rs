//! What the registry says. It is asked for each request; the broker's word does not count here.

use api::vault::Reason;
use registry::{Answers, Device, Question, Roles, Scope};
use vault::{Cap, Op};

use super::Asked;
use crate::app::App;
use crate::ports::Away;
use crate::refused::{Refused, Result};

pub(super) async fn ask(app: &App, asked: &Asked<'_>, cap: &Cap) -> Result<Answers> {
    let question = Question {
        operator: &cap.operator,
        actor: &cap.sub,
        device: &cap.device,
        service: asked.service,
    };
    app.registry
        .answers(&question)
        .await
        .map_err(|unavailable| {
            let away = Away::for_now("the registry", unavailable.0);
            Refused::away(Reason::RegistryUnavailable, &away)
        })
}

/// The device is active, bound to this operator and actor, and has the role.
pub(super) fn device(device: Option<&Device>, cap: &Cap, op: Op) -> Result<()> {
    let device = device.ok_or(Reason::DeviceUnknown)?;
    if device.revoked {
        return Err(Reason::DeviceRevoked.into());
    }
    if device.operator != cap.operator || device.actor != cap.sub {
        return Err(Reason::DeviceBindingMismatch.into());
    }
    let has_role = match op {
        Op::Store | Op::Fetch | Op::List => device.roles.has(Roles::USE),
        // An agent's device is nobody's master, whatever the registry says of it.
        Op::Teardown => device.roles.has(Roles::MASTER) && device.actor == device.operator,
    };
    has_role.then_some(()).ok_or(Reason::RoleMissing.into())
}

/// Where a service is asked for, it must be in scope.
pub(super) fn scope(scope: Option<Scope>, op: Op) -> Result<()> {
    match (op, scope) {
        (Op::List | Op::Teardown, _) => Ok(()),
        (Op::Store | Op::Fetch, Some(scope)) if scope.in_scope => {
            if op == Op::Store && scope.read_only {
                return Err(Reason::ScopeReadOnly.into());
            }
            Ok(())
        }
        (Op::Store | Op::Fetch, _) => Err(Reason::ScopeDenied.into()),
    }
}

pub(super) fn epoch(current: u32, cap: &Cap) -> Result<()> {
    if cap.epoch == current {
        Ok(())
    } else {
        Err(Reason::EpochMismatch.into())
    }
}
