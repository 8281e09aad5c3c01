//! The door inside, over mTLS: for workers, the broker, and the operator's own tools.

use std::sync::Arc;

use api::Secret;
use api::vault::{DeriveCredKek, DerivedKek, Epoch};
use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base::Failure;
use base::extract::Body;
use base::layers::{PATIENCE, bounded};
use base::peer::{Peer, PeerRole};
use vault::{Kek, derive_cred_kek};
use zeroize::Zeroizing;

use crate::app::{LONGEST_BODY, Signer};
use crate::record::Record;
use crate::secrets::Epochs;

/// The endpoints.
pub fn router(signer: Arc<Signer>) -> Router {
    let router = Router::new()
        .route("/v1/derive-cred-kek", post(derive))
        .route("/v1/epoch", get(epoch))
        .route("/v1/epoch/reload", post(reload));
    bounded(router, LONGEST_BODY, PATIENCE).with_state(signer)
}

async fn derive(
    State(signer): State<Arc<Signer>>,
    peer: Peer,
    role: PeerRole,
    request: Request,
) -> Response {
    let mut record = Record::of("derive-cred-kek", &peer, &role);
    let result = derived(&signer, &peer, &role, request, &mut record).await;
    signer.answer(record, result)
}

async fn derived(
    signer: &Signer,
    peer: &Peer,
    role: &PeerRole,
    request: Request,
    record: &mut Record,
) -> Result<DerivedKek, Failure> {
    role.require(&["worker"])?;
    signer.limits.derive.check(&peer.key())?;
    let Body(wanted) = Body::<DeriveCredKek>::from_request(request, &()).await?;
    record.operator = Some(wanted.operator.clone());
    record.actor = Some(wanted.actor.clone());
    record.epoch = Some(wanted.epoch);
    let epochs = signer.epochs();
    let secret = known(&epochs, wanted.epoch)?;
    let kek = derive_cred_kek(secret, &wanted.operator, &wanted.actor);
    Ok(handed_over(&kek, wanted.epoch, &epochs))
}

/// The secret of an epoch that has begun.
pub(crate) fn known(epochs: &Epochs, epoch: u32) -> Result<&vault::MasterSecret, Failure> {
    epochs.secret(epoch).ok_or_else(|| {
        Failure::invalid(format!(
            "there is no epoch {epoch}; the current one is {}\nhint: ask for that, or tell the operator that the signer is behind the registry",
            epochs.current()
        ))
    })
}

/// A key as it goes over the wire.
pub(crate) fn handed_over(kek: &Kek, epoch: u32, epochs: &Epochs) -> DerivedKek {
    let mut text = Zeroizing::new([0; 44]);
    let encoded = base64_simd::STANDARD.encode_as_str(
        kek.expose(),
        base64_simd::Out::from_slice(text.as_mut_slice()),
    );
    DerivedKek {
        kek: Secret::from(secrecy::SecretString::from(&*encoded)),
        epoch,
        current_epoch: epochs.current(),
    }
}

async fn epoch(State(signer): State<Arc<Signer>>, peer: Peer, role: PeerRole) -> Response {
    let record = Record::of("epoch", &peer, &role);
    let allowed = role.require(&["worker", "broker", "operator-admin"]);
    let result = allowed.map(|_| Epoch {
        current_epoch: signer.epochs().current(),
    });
    signer.answer(record, result)
}

/// Takes up the epochs that were added to the file.
async fn reload(State(signer): State<Arc<Signer>>, peer: Peer, role: PeerRole) -> Response {
    let record = Record::of("reload", &peer, &role);
    let result = match role.require(&["operator-admin"]) {
        Ok(_) => reloaded(&signer).await,
        Err(failure) => Err(failure),
    };
    signer.answer(record, result)
}

async fn reloaded(signer: &Signer) -> Result<Epoch, Failure> {
    match signer.reload().await {
        Ok(current_epoch) => Ok(Epoch { current_epoch }),
        Err(error) => {
            tracing::error!(%error, "the epochs from before stay in use");
            let text = "the file was not taken up\nhint: the signer's log says why";
            Err(Failure::conflict(text))
        }
    }
}
