//! What keeps actors apart at the store: the policies of the vault's bucket and of the role that
//! the broker's tokens assume, as pure functions of an [`Isolation`].
//!
//! In words: whoever has a token of the broker may assume the role, if the token is for this
//! and has an actor as its tag; the role may list, get, put and delete under
//! `bots/<that actor>/credentials/` and nothing else; the bucket refuses everybody else, and
//! refuses the role too outside of that prefix, whatever else may be granted to it.

mod documents;
mod names;

pub use documents::{
    AUDIENCE, POLICY, SID, TAG, bucket_policy, role_policy, seaweedfs_iam, trust_policy,
};
pub use names::{InvalidName, Issuer, RoleArn};

/// Everything that the policies depend on.
#[derive(Debug, Clone, Copy)]
pub struct Isolation<'a> {
    /// The bucket's name. It is the vault's alone.
    pub bucket: &'a str,
    /// The role that tokens assume.
    pub role: &'a RoleArn,
    /// Whose tokens: the broker, as it names itself.
    pub issuer: &'a Issuer,
    /// Whether the store is reached without TLS, so that this cannot be demanded.
    pub in_clear: bool,
}

impl Isolation<'_> {
    fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.role.partition(), self.bucket)
    }
}
