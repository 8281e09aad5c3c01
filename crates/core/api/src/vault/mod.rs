//! The wire of the vault: what worker, signer and broker are asked and answer.
//!
//! Bodies are JSON. A capability travels in the body of a request, the proof of possession in
//! the header [`PROOF_HEADER`]; the proof holds the hash of the whole body, so neither can be
//! changed or used for another request. Secrets are base64 (standard alphabet, padded) in fields
//! of type [`Secret`](crate::Secret).

mod broker;
mod login;
mod reason;
mod signer;
mod worker;

pub use broker::{
    CapAnswer, CapCredential, CapTeardown, DropEvent, MintWebIdentity, OperatorEvent,
    PairingAnswer, PairingApproval, PairingPoll, PairingRequest, PairingStanding, PendingPairing,
    WebIdentity, WorkerWebIdentity,
};
pub use login::{
    CurrentSession, ExchangeToken, LoginDecision, PendingLogin, RenewSession, WalletChallenge,
    WalletLogin,
};
pub use reason::{Reason, Refusal};
pub use signer::{DeriveCredKek, DeriveOwnKek, DerivedKek, Epoch, SignMessage, SignedMessage};
pub use worker::{
    FetchCredential, FetchedCredential, ListCredentials, ListedCredential, ListedCredentials,
    StoreCredential, StoredCredential, Teardown, TornDown,
};

/// The header of a request that holds its proof of possession (a compact JWS by the device's
/// key).
pub const PROOF_HEADER: &str = "artifacts-proof";

/// The longest plaintext that an envelope may hold, in bytes.
pub const LONGEST_PLAINTEXT: usize = 64 * 1024;

/// The longest body of a request to a worker, in bytes: the longest plaintext in base64, a
/// capability, and some room.
pub const LONGEST_BODY: usize = 96 * 1024;
