//! A person logs in with a wallet (EIP-4361): `POST /v1/wallet/nonce`, `POST /v1/wallet/login`.

use api::SessionToken;
use api::vault::{WalletChallenge, WalletLogin};
use axum::Json;
use axum::extract::State;
use base::Failure;
use base::peer::Peer;
use model::Actor;

use super::Shared;
use crate::app::App;
use crate::audit::Record;
use crate::caller::Proved;
use crate::refusal::Refusal;
use crate::wallet::{Message, Wanted, signer};

/// For how many seconds a nonce and a message count.
const LIFETIME: i64 = 300;

/// Nonces that wait at the same time.
const MOST: i64 = 10_000;

/// What the wallet's message must say.
pub(crate) async fn nonce(
    State(app): Shared,
    peer: Peer,
) -> Result<Json<WalletChallenge>, Refusal> {
    let chains = &app.settings.wallet_chains;
    if chains.is_empty() {
        let text = "no wallet logs in here\nhint: log in with an issuer, or the operator of the broker names wallet_chains";
        return Err(Failure::forbidden(text).into());
    }
    app.limits.wallets.check(&peer)?;
    let nonce = app.new_id();
    let now = app.now();
    let kept = app.store.add_nonce(&nonce, now, now + LIFETIME, MOST);
    if !kept.await? {
        return Err(Failure::rate_limited(60).into());
    }
    Ok(Json(WalletChallenge {
        nonce,
        domain: domain(&app.settings.public_url).to_owned(),
        uri: app.settings.public_url.clone(),
        chain_ids: chains.clone(),
        expires_in: LIFETIME.unsigned_abs(),
    }))
}

/// The session of the holder of a wallet.
pub(crate) async fn login(
    State(app): Shared,
    peer: Peer,
    request: Proved,
) -> Result<Json<SessionToken>, Refusal> {
    let mut record = Record::of(&app, "session.wallet");
    match logged_in(&app, &peer, &request, &mut record).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn logged_in(
    app: &App,
    peer: &Peer,
    request: &Proved,
    record: &mut Record,
) -> Result<SessionToken, Refusal> {
    app.limits.wallets.check(peer)?;
    let WalletLogin { message, signature } = request.read()?;
    let proof = request.proof_at_login(app)?;
    let text = message;
    let message = Message::parse(&text).and_then(|message| {
        let wanted = Wanted {
            domain: domain(&app.settings.public_url),
            uri: &app.settings.public_url,
            chains: &app.settings.wallet_chains,
            now: app.clock.now(),
            lifetime: LIFETIME,
        };
        message.check(&wanted).map(|()| message)
    });
    let message = message.map_err(|invalid| refused(record, &invalid.to_string()))?;
    let found = signer(&text, signature.expose());
    if found.as_ref() != Some(&message.address) {
        return Err(refused(record, "the signature is not the address's"));
    }
    let device = app.bound_to(proof).await?;
    // Last, so that nobody else uses up a nonce that they have seen.
    if !app.store.use_nonce(&message.nonce, app.now()).await? {
        return Err(refused(record, "the nonce does not count, or was used"));
    }
    let actor = Actor::from_evm(&message.address).map_err(|_| Failure::internal())?;
    let row = app.new_session(&actor, device, "wallet");
    app.begin_session(&row).await
}

fn refused(record: &mut Record, reason: &str) -> Refusal {
    record.note = Some(reason.to_owned());
    let text = format!("{reason}\nhint: ask for a new nonce, and sign the message anew");
    Failure::unauthenticated(text).into()
}

/// The authority of a URL (RFC 3986): host and port.
fn domain(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
