//! Which endpoint answers at which path, on which listener.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use base::layers::{PATIENCE, bounded};
use base::peer::only;

use crate::app::App;
use crate::endpoints::{
    caps, devices, discovery, drops, events, identities, pairing, sessions, wallets,
};
use crate::pages;

/// Longer than any body here: a token of another issuer, and some room.
const LONGEST_BODY: usize = 16 * 1024;

/// What clients reach.
pub fn public(app: Arc<App>) -> Router {
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(discovery::configuration),
        )
        .route("/jwks.json", get(discovery::jwks))
        .route("/healthz", get(discovery::healthz))
        .route("/readyz", get(discovery::readyz))
        .route("/v1/bootstrap", post(sessions::bootstrap))
        .route("/v1/session", get(sessions::show))
        .route("/v1/session/exchange", post(sessions::exchange))
        .route("/v1/session/renew", post(sessions::renew))
        .route("/v1/session/end", post(sessions::end))
        .route("/v1/wallet/nonce", post(wallets::nonce))
        .route("/v1/wallet/login", post(wallets::login))
        .route("/oauth/device_authorization", post(devices::authorize))
        .route("/oauth/token", post(devices::token))
        .route(
            "/v1/device/{user_code}",
            get(devices::show).post(devices::decide),
        )
        .route("/v1/pairing", post(pairing::ask))
        .route("/v1/pairing/token", post(pairing::poll))
        .route(
            "/v1/pairing/{user_code}",
            get(pairing::show).post(pairing::decide),
        )
        .route("/v1/cap/cred-store", post(caps::store))
        .route("/v1/cap/cred-fetch", post(caps::fetch))
        .route("/v1/cap/cred-list", post(caps::list))
        .route("/v1/cap/cred-teardown", post(caps::teardown))
        .route("/v1/mint-oidc-jwt", post(identities::own))
        .route("/v1/sse/operator/{actor}", get(events::follow))
        .route("/v1/drop", post(drops::tell))
        .merge(pages::router());
    bounded(router, LONGEST_BODY, PATIENCE).with_state(app)
}

/// What other servers of the installation reach, over mTLS.
pub fn internal(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/healthz", get(discovery::healthz))
        .route("/readyz", get(discovery::readyz))
        .route("/jwks.json", get(discovery::jwks))
        .route(
            "/v1/worker/web-identity",
            only(&["worker"], post(identities::of_cap)),
        );
    bounded(router, LONGEST_BODY, PATIENCE).with_state(app)
}
