//! Who may do what: every check of a request, in the one order in which all endpoints make them.
//!
//! Size and form were checked before (`intake`); key and bucket come after (`endpoints`). The
//! first check that fails is the answer. What a check finds out on its way goes into the story
//! that the audit is told, refusals included.

mod capability;
mod possession;
mod rights;

use model::{Actor, ServiceName};
use vault::{Cap, Op};

pub(crate) use capability::Verified;

use crate::app::App;
use crate::outcome::Story;
use crate::refused::Result;

/// What a request asks for, before anything of it is believed.
pub(crate) struct Asked<'a> {
    pub(crate) op: Op,
    pub(crate) cap: &'a str,
    pub(crate) proof: Option<&'a str>,
    /// The path of the endpoint.
    pub(crate) path: &'static str,
    /// The whole body, as it came.
    pub(crate) body: &'a [u8],
    pub(crate) service: Option<&'a ServiceName>,
    pub(crate) target: Option<&'a Actor>,
    /// The label that is said to make the target the operator's agent.
    pub(crate) label: Option<&'a str>,
}

/// A request that may be carried out.
pub(crate) struct Admitted {
    pub(crate) operator: Actor,
    /// Whose credentials: the actor of the capability, or the target of a teardown.
    pub(crate) owner: Actor,
    /// The current one.
    pub(crate) epoch: u32,
}

/// The order.
pub(crate) async fn admit(app: &App, asked: &Asked<'_>, story: &mut Story) -> Result<Admitted> {
    let cap = capability::verify(app, asked.cap, story).await?;
    purpose(&cap, asked)?;
    possession::verify(app, asked, &cap)?;
    let answers = rights::ask(app, asked, &cap).await?;
    rights::device(answers.device.as_ref(), &cap, asked.op)?;
    rights::scope(answers.scope, asked.op)?;
    rights::epoch(answers.epoch, &cap)?;
    Ok(Admitted {
        operator: cap.operator.clone(),
        owner: asked.target.unwrap_or(&cap.sub).clone(),
        epoch: answers.epoch,
    })
}

/// The capability is for just this, and what is to be torn down is the operator's.
fn purpose(cap: &Cap, asked: &Asked<'_>) -> Result<()> {
    cap.check(asked.op, asked.service, asked.target)?;
    if let Some(target) = asked.target {
        capability::owns(&cap.operator, target, asked.label)?;
    }
    Ok(())
}
