//! The vault's bucket and role: what they must be, made so, and shown to be so.
//!
//! The isolation of actors from each other is the store's: a web identity token carries its
//! actor as a session tag, and one role's policy gives each tag a prefix of its own. The
//! documents that say so are pure functions of a [`Target`] ([`vault::isolation`]); a [`Plan`] is the
//! list of them that is shown and that is applied, the same one; [`verify`] believes none of
//! it and tries from outside.
//!
//! - AWS and the embedded store: everything over S3 and IAM.
//! - SeaweedFS has no calls for roles and providers: the plan holds what to put into its
//!   `iam.json`, and [`verify`] compares the file with it.

mod apply;
mod clients;
mod documents;
mod grants;
mod iam_json;
mod plan;
mod probes;
mod report;
mod target;
mod told;
mod traversal;
mod verify;

pub use apply::{Outcome, apply};
pub use clients::{Admin, AdminKeys};
pub use iam_json::IamJson;
pub use plan::{Plan, Step};
pub use report::{Check, Report, Verdict};
pub use target::{Authorities, StoreKind, Target};
pub use vault::isolation::{InvalidName, Issuer, RoleArn};
pub use verify::{Identities, OwnIdentities, Seen, verify};
