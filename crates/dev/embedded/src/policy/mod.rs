//! IAM policy documents: read exactly, evaluated exactly, refused when not understood.
//!
//! The crate `iam-rs` 0.8 was looked at first and not taken: see `document.rs` for what
//! is read here instead, and the tests in `evaluate.rs` for what it had to hold.
//!
//! Semantics after the IAM User Guide ("Policy evaluation logic", "IAM JSON policy
//! elements"): a statement applies when its action, its resource and all its conditions
//! match; any applying Deny refuses, else any applying Allow grants, else refused.

mod condition;
mod document;
mod evaluate;
mod pattern;

pub use document::{Policy, PolicyError};
pub(crate) use evaluate::Request;
