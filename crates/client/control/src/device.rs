//! Letting this machine in: device authorization (RFC 8628).

use std::time::Duration;

use api::{DeviceAuthorization, DeviceTokenError, OAuthError, Scope, Secret, SessionToken};
use tokio::time::{Instant, sleep};

use crate::client::Orchestrator;
use crate::error::{ControlError, Result};

/// The program's name at the orchestrator.
const CLIENT: &str = "artifacts";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// No server lets a code count for longer, in seconds.
const LONGEST: u64 = 3600;
/// RFC 8628 §3.5: so much is added whenever the server asks for less.
const SLOWER: Duration = Duration::from_secs(5);

/// Begins a login: what the person is to be shown.
///
/// # Errors
/// The orchestrator is away, or is none.
pub async fn begin(
    orchestrator: &Orchestrator,
    machine: &str,
    scope: Scope,
) -> Result<DeviceAuthorization> {
    let fields = [
        ("client_id", CLIENT),
        ("machine", machine),
        ("scope", scope.as_str()),
    ];
    let answer = orchestrator
        .form("/oauth/device_authorization", &fields)
        .await?;
    orchestrator.parse(&answer?)
}

/// Makes the proof by this machine's device for a POST of a body to a URL: what the session shall
/// be bound to. An orchestrator's is bound to none.
pub type Prove<'a> = &'a (dyn Fn(&str, &[u8]) -> Option<String> + Sync);

/// Asks again and again whether somebody has approved. A server that is away for a moment
/// ends nothing; the code's end does.
///
/// # Errors
/// [`ControlError::Denied`] and [`ControlError::CodeEnded`], or what else the orchestrator says.
pub async fn wait(
    orchestrator: &Orchestrator,
    asked: &DeviceAuthorization,
    prove: Option<Prove<'_>>,
) -> Result<SessionToken> {
    let end = Instant::now() + Duration::from_secs(asked.expires_in.clamp(1, LONGEST));
    let mut pause = Duration::from_secs(asked.interval.clamp(1, 60));
    loop {
        if Instant::now() + pause > end {
            return Err(ControlError::CodeEnded);
        }
        sleep(pause).await;
        match poll(orchestrator, &asked.device_code, prove).await {
            Ok(Answer::Session(session)) => return Ok(session),
            Ok(Answer::NotYet) => {}
            Ok(Answer::Slower) => pause += SLOWER,
            // RFC 8628 §3.5: less often after a failed connection.
            Err(error) if error.is_temporary() => pause = (pause * 2).min(SLOWER * 6),
            Err(error) => return Err(error),
        }
    }
}

enum Answer {
    Session(SessionToken),
    NotYet,
    Slower,
}

async fn poll(
    orchestrator: &Orchestrator,
    code: &Secret,
    prove: Option<Prove<'_>>,
) -> Result<Answer> {
    let fields = [
        ("grant_type", GRANT_TYPE),
        ("device_code", code.expose()),
        ("client_id", CLIENT),
    ];
    let answer = orchestrator.proven_form("/oauth/token", &fields, prove);
    let refused = match answer.await? {
        Ok(body) => return orchestrator.parse(&body).map(Answer::Session),
        Err(refused) => refused,
    };
    let Ok(refusal) = serde_json::from_slice::<OAuthError>(&refused.body) else {
        return Err(refused.error);
    };
    match refusal.error {
        DeviceTokenError::AuthorizationPending => Ok(Answer::NotYet),
        DeviceTokenError::SlowDown => Ok(Answer::Slower),
        DeviceTokenError::AccessDenied => Err(ControlError::Denied {
            url: orchestrator.url().clone(),
        }),
        DeviceTokenError::ExpiredToken => Err(ControlError::CodeEnded),
        DeviceTokenError::InvalidGrant | DeviceTokenError::UnsupportedGrantType => {
            Err(refused.error)
        }
    }
}
