//! What a key may do, and the policy document that says exactly that.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{BucketName, Namespace, Prefix};

/// Whether a key may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Get and list.
    #[serde(rename = "ro")]
    ReadOnly,
    /// Get, list, put and delete.
    #[serde(rename = "rw")]
    ReadWrite,
}

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The one bucket.
    pub bucket: BucketName,
    /// Only keys that begin so; `None` for all of the bucket.
    pub prefix: Option<Prefix>,
    /// Whether it may write.
    pub access: Access,
}

/// A key that somebody shall get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The caller's id for it, from which all names at the store follow. One id is one scope
    /// for ever.
    pub credential: Uuid,
    /// What it opens.
    pub scope: Scope,
}

/// Fields in the order in which they are written: the text must be the same in every build,
/// because the policy's name has its digest.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: [Statement; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: &'static [&'static str],
    resource: [String; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    string_like: ListedPrefix,
}

#[derive(Serialize)]
struct ListedPrefix {
    #[serde(rename = "s3:prefix")]
    prefix: [String; 1],
}

impl Scope {
    /// The IAM policy document: GetObject, PutObject, DeleteObject, ListBucket, as far as
    /// the scope has them, and nothing else.
    pub fn document(&self) -> String {
        let bucket = format!("arn:aws:s3:::{}", self.bucket);
        let prefix = self.prefix.as_ref().map_or("", Prefix::as_str);
        let condition = self.prefix.as_ref().map(|prefix| Condition {
            string_like: ListedPrefix {
                prefix: [format!("{prefix}*")],
            },
        });
        let objects = Statement {
            sid: "Objects",
            effect: "Allow",
            action: self.access.object_actions(),
            resource: [format!("{bucket}/{prefix}*")],
            condition: None,
        };
        let list = Statement {
            sid: "List",
            effect: "Allow",
            action: &["s3:ListBucket"],
            resource: [bucket],
            condition,
        };
        let document = Document {
            version: "2012-10-17",
            statement: [objects, list],
        };
        serde_json::to_string(&document).expect("texts alone are always JSON")
    }
}

impl Access {
    fn object_actions(self) -> &'static [&'static str] {
        match self {
            Self::ReadOnly => &["s3:GetObject"],
            Self::ReadWrite => &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        }
    }
}

impl Grant {
    /// The policy's name. It has a digest of the document, so that a policy found under it
    /// is the policy that was meant.
    pub(crate) fn policy_name(&self, namespace: &Namespace) -> String {
        let digest = hex::encode(&Sha256::digest(self.scope.document())[..6]);
        format!("{}{digest}", policy_name_begin(namespace, self.credential))
    }
}

/// The name of a credential's user.
pub(crate) fn user_name(namespace: &Namespace, credential: Uuid) -> String {
    format!("{namespace}-{credential}")
}

/// The credential of a user's name, if the user is of ours.
pub(crate) fn credential_of(namespace: &Namespace, user: &str) -> Option<Uuid> {
    let rest = user.strip_prefix(namespace.as_str())?.strip_prefix('-')?;
    // Only as it is written here: a UUID has other spellings too.
    Uuid::try_parse(rest)
        .ok()
        .filter(|credential| credential.to_string() == rest)
}

/// What the names of all policies of a credential begin with.
pub(crate) fn policy_name_begin(namespace: &Namespace, credential: Uuid) -> String {
    format!("{namespace}-{credential}-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(prefix: Option<&str>, access: Access) -> Scope {
        Scope {
            bucket: "cases".parse().unwrap(),
            prefix: prefix.map(|prefix| prefix.parse().unwrap()),
            access,
        }
    }

    #[test]
    fn the_documents_are_exactly_these() {
        assert_eq!(
            scope(None, Access::ReadOnly).document(),
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"Objects","Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::cases/*"]},{"Sid":"List","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::cases"]}]}"#
        );
        assert_eq!(
            scope(Some("a/b/"), Access::ReadWrite).document(),
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"Objects","Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::cases/a/b/*"]},{"Sid":"List","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::cases"],"Condition":{"StringLike":{"s3:prefix":["a/b/*"]}}}]}"#
        );
    }

    #[test]
    fn names_follow_from_the_id_and_a_policys_from_its_content_too() {
        let (namespace, credential) = (Namespace::default(), Uuid::from_u128(7));
        let grant = |access| Grant {
            credential,
            scope: scope(None, access),
        };
        let user = user_name(&namespace, credential);
        assert_eq!(user, "artifacts-00000000-0000-0000-0000-000000000007");
        assert_eq!(credential_of(&namespace, &user), Some(credential));
        for other in [
            "artifacts-7",
            "artifactsx-00000000-0000-0000-0000-000000000007",
            "ann",
        ] {
            assert_eq!(credential_of(&namespace, other), None, "{other}");
        }
        let (ro, rw) = (grant(Access::ReadOnly), grant(Access::ReadWrite));
        let begin = policy_name_begin(&namespace, credential);
        assert!(ro.policy_name(&namespace).starts_with(&begin));
        assert_ne!(ro.policy_name(&namespace), rw.policy_name(&namespace));
        // Written here so that no later build finds its own policies no more.
        assert_eq!(ro.policy_name(&namespace).len(), begin.len() + 12);
    }
}
