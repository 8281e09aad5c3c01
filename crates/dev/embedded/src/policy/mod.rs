//! IAM policy documents: read exactly, evaluated exactly, refused when not understood.
//!
//! The crate `iam-rs` (0.8) was looked at first and not taken: it drops elements that it
//! does not know, so a policy with a misspelt `Condition` grants without any; an operator
//! or value that it cannot judge is an error of the whole evaluation, at the request and
//! not at load; and it needs a principal and copies the request for every decision. What
//! S3 needs of it is small enough to be exact here.
//!
//! Semantics after the IAM User Guide ("Policy evaluation logic", "IAM JSON policy
//! elements"): a statement applies when its action, its resource and all its conditions
//! match; any applying Deny refuses, else any applying Allow grants, else refused.

mod condition;
mod document;
mod evaluate;
mod pattern;
mod principal;
mod template;

pub use document::{Policy, PolicyError};
pub(crate) use evaluate::{Decision, Request};
pub(crate) use pattern::fits;
pub(crate) use principal::{ACCOUNT, Principal};
