//! That the request comes from the device, was made for this worker, and is not here again.

use api::vault::Reason;
use vault::{Cap, ProofFor, verify_proof};

use super::Asked;
use crate::app::App;
use crate::refused::Result;

pub(super) fn verify(app: &App, asked: &Asked<'_>, cap: &Cap) -> Result<()> {
    let now = app.now();
    let request = ProofFor {
        method: "POST",
        url: &app.url_of(asked.path),
        token: Some(asked.cap),
        body: asked.body,
    };
    let proof = verify_proof(asked.proof, &request, Some(&cap.device), now)?;
    // What was used before this process began, it cannot know.
    let too_old = app
        .settings
        .oldest_proof
        .is_some_and(|oldest| proof.iat < oldest);
    if too_old || app.proofs.seen(&proof, &cap.operator, now) {
        return Err(Reason::ProofReplayed.into());
    }
    Ok(())
}
