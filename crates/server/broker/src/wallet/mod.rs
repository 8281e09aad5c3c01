//! Logging in with a wallet: the message that it signs (EIP-4361), and who signed it (EIP-191).

mod message;
mod signature;

pub(crate) use message::{Message, Wanted};
pub(crate) use signature::signer;
