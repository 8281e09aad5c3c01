//! Who asks: session tokens of our own and of other issuers, service tokens, tickets.

mod caller;
mod key;
mod opaque;
mod session;
mod ticket;

pub(crate) use base::tokens::{AUDIENCE, Attempt, Door, Foreign, NotLetIn, Refused, check_times};
pub use base::tokens::{IssuerConfig, IssuerKind, Issuers, PinnedAlgorithm};
pub(crate) use caller::{Bearer, Caller, Who, only_webhooks};
pub use key::SigningKey;
pub use opaque::token_hash;
pub use opaque::{BOOTSTRAP_LIFETIME, new_bootstrap};
pub(crate) use opaque::{BOOTSTRAP_PREFIX, SERVICE_PREFIX, hash};
