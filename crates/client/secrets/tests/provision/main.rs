//! The vault's bucket and role, on real stores: what the plan says is what is there, it
//! isolates, and what stands beside it is found.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod golden;
mod iam_json;
mod moto;
mod on_embedded;
mod on_seaweedfs;
mod own_authority;
mod resolving;
mod tokens;
