//! What is answered, one file for each thing.

pub(crate) mod caps;
pub(crate) mod devices;
pub(crate) mod discovery;
pub(crate) mod drops;
pub(crate) mod events;
pub(crate) mod identities;
pub(crate) mod pairing;
pub(crate) mod sessions;
pub(crate) mod wallets;

use std::sync::Arc;

use axum::extract::State;

use crate::app::App;

/// The broker, as endpoints get it.
pub(crate) type Shared = State<Arc<App>>;
