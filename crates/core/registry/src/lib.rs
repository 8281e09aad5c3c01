//! Who may do what: devices, scopes and epochs.
//!
//! The worker asks a [`Registry`] itself for every request and takes nobody's word instead, the
//! broker's included. Two readers answer alike: one asks contracts on a chain, one reads documents
//! that operators have signed. What cannot be asked is [`Unavailable`], never "yes".

mod address;
pub mod documents;
mod port;

pub use port::{Answers, Device, Question, Registry, Roles, Scope, Unavailable};
