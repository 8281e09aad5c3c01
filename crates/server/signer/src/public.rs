//! The door outside, over TLS: for people with a session of the broker, at their own device.

use std::sync::Arc;

use api::Secret;
use api::vault::{DeriveOwnKek, DerivedKek, Epoch, SignMessage, SignedMessage};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use base::Failure;
use base::layers::{PATIENCE, bounded};
use base::peer::{Peer, PeerRole};
use vault::{Session, derive_cred_kek};

use crate::app::{LONGEST_BODY, Signer};
use crate::internal::{handed_over, known};
use crate::message::{Purpose, recognise};
use crate::proven::proven;
use crate::record::Record;
use crate::wallet::Wallet;

/// The endpoints.
pub fn router(signer: Arc<Signer>) -> Router {
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/v1/derive-own-kek", post(derive))
        .route("/dev/sign-message", post(sign))
        .route("/v1/epoch", get(epoch));
    bounded(router, LONGEST_BODY, PATIENCE).with_state(signer)
}

async fn derive(State(signer): State<Arc<Signer>>, peer: Peer, request: Request) -> Response {
    let mut record = Record::of("derive-own-kek", &peer, &PeerRole(None));
    let result = derived(&signer, &peer, request, &mut record).await;
    signer.answer(record, result)
}

async fn derived(
    signer: &Signer,
    peer: &Peer,
    request: Request,
    record: &mut Record,
) -> Result<DerivedKek, Failure> {
    let session = who(signer, peer, request.headers(), record).await?;
    own_keys(signer)?;
    signer.limits.own.check(&session.sub.to_string())?;
    let wanted: DeriveOwnKek = proven(signer, &session, request).await?;
    let epochs = signer.epochs();
    let epoch = wanted.epoch.unwrap_or(epochs.current());
    record.epoch = Some(epoch);
    let kek = derive_cred_kek(known(&epochs, epoch)?, &session.operator, &session.sub);
    Ok(handed_over(&kek, epoch, &epochs))
}

async fn sign(State(signer): State<Arc<Signer>>, peer: Peer, request: Request) -> Response {
    let mut record = Record::of("sign-message", &peer, &PeerRole(None));
    let result = signed(&signer, &peer, request, &mut record).await;
    signer.answer(record, result)
}

async fn signed(
    signer: &Signer,
    peer: &Peer,
    request: Request,
    record: &mut Record,
) -> Result<SignedMessage, Failure> {
    let session = who(signer, peer, request.headers(), record).await?;
    signer.limits.sign.check(&session.sub.to_string())?;
    let SignMessage { message } = proven(signer, &session, request).await?;
    let epochs = signer.epochs();
    let wallet = Wallet::derive(known(&epochs, 1)?, &session.sub);
    let wallet = wallet.ok_or_else(Failure::internal)?;
    let now = signer.clock().now();
    match recognise(&message, &wallet, signer.login_places(), now) {
        Some(Purpose::Kek(service)) => {
            own_keys(signer)?;
            record.purpose = Some("kek");
            record.service = Some(service);
        }
        Some(Purpose::Login) => record.purpose = Some("login"),
        None => {
            let text = format!(
                "this is no message that is signed here\nhint: the key of an older envelope (agentkeys.kek.v1:{}:SERVICE), or a login (EIP-4361, without a statement) at a place that the signer's operator has named",
                wallet.address()
            );
            return Err(Failure::forbidden(text));
        }
    }
    let signature = wallet.sign(&message).ok_or_else(Failure::internal)?;
    Ok(SignedMessage {
        address: wallet.address(),
        signature: Secret::from(signature),
    })
}

/// That keys of people's own are given here at all.
fn own_keys(signer: &Signer) -> Result<(), Failure> {
    match signer.own_keys() {
        true => Ok(()),
        false => {
            let text = "this signer hands out no keys of people's own\nhint: --credential-backend sidecar or http; or its operator starts it with --own-keys, having read in SECURITY.md what that opens";
            Err(Failure::forbidden(text))
        }
    }
}

async fn epoch(State(signer): State<Arc<Signer>>, peer: Peer, headers: HeaderMap) -> Response {
    let mut record = Record::of("epoch", &peer, &PeerRole(None));
    let session = who(&signer, &peer, &headers, &mut record).await;
    let result = session.map(|_| Epoch {
        current_epoch: signer.epochs().current(),
    });
    signer.answer(record, result)
}

/// Whose session a request comes with.
async fn who(
    signer: &Signer,
    peer: &Peer,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<Session, Failure> {
    signer.limits.address.check(&peer.key())?;
    let now = signer.clock().now().seconds();
    let session = signer.sessions().of(headers, now).await?;
    record.session = Some(session.jti.clone());
    record.operator = Some(session.operator.clone());
    record.actor = Some(session.sub.clone());
    Ok(session)
}
