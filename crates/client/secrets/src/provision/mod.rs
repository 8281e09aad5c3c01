//! The vault's bucket and role: what they must be, made so, and shown to be so.
//!
//! The isolation of actors from each other is the store's: a web identity token carries its
//! actor as a session tag, and one role's policy gives each tag a prefix of its own. The
//! documents that say so are pure functions of a [`Target`] ([`documents`]); a [`Plan`] is the
//! list of them that is shown and that is applied, the same one; [`verify`] believes none of
//! it and tries from outside.
//!
//! - AWS and the embedded store: everything over S3 and IAM.
//! - SeaweedFS has no calls for roles and providers: the plan holds what to put into its
//!   `iam.json`.

mod apply;
mod clients;
pub mod documents;
mod grants;
mod plan;
mod probes;
mod report;
mod target;
mod told;
mod verify;

pub use apply::{Outcome, apply};
pub use clients::{Admin, AdminKeys};
pub use plan::{Plan, Step};
pub use report::{Check, Report, Verdict};
pub use target::{Issuer, RoleArn, StoreKind, Target};
pub use verify::{Identities, OwnIdentities, verify};
