//! The steps, in the order in which nothing is ever more open than at the end: the bucket
//! refuses before the role may anything.

use serde::Serialize;
use serde_json::Value;

use super::documents::{
    AUDIENCE, POLICY, bucket_policy, lifecycle_rule, role_policy, seaweedfs_iam, trust_policy,
};
use super::target::{StoreKind, Target};

/// All steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Plan {
    /// In the order in which they are done.
    pub steps: Vec<Step>,
}

/// One thing that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The bucket.
    Bucket {
        /// Its name.
        bucket: String,
        /// Where, if it is to be made.
        region: String,
    },
    /// The bucket's policy.
    BucketPolicy {
        /// The bucket.
        bucket: String,
        /// The policy.
        document: Value,
    },
    /// A rule of the bucket's lifecycle; its other rules stay.
    Lifecycle {
        /// The bucket.
        bucket: String,
        /// The rule.
        document: Value,
    },
    /// The provider whose tokens count.
    Provider {
        /// Its ARN.
        arn: String,
        /// The tokens' issuer.
        url: String,
        /// Whom the tokens are for.
        audience: String,
    },
    /// The role.
    Role {
        /// Its name.
        role: String,
        /// Its path.
        path: String,
        /// Who may assume it.
        document: Value,
    },
    /// What the role may do.
    RolePolicy {
        /// The role.
        role: String,
        /// The policy's name.
        policy: String,
        /// The policy.
        document: Value,
    },
    /// What the store's file must hold; it is put there by hand.
    IamJson {
        /// The parts of the file.
        document: Value,
    },
}

impl Plan {
    /// What must be there for a target.
    pub fn of(target: &Target) -> Self {
        let bucket = target.bucket.to_string();
        let mut steps = vec![Step::Bucket {
            bucket: bucket.clone(),
            region: target.region.clone(),
        }];
        // SeaweedFS takes the policy, and then refuses the role too: it knows another ARN.
        if target.kind != StoreKind::SeaweedFs {
            steps.push(Step::BucketPolicy {
                bucket: bucket.clone(),
                document: bucket_policy(target),
            });
        }
        if let Some(document) = lifecycle_rule(target) {
            steps.push(Step::Lifecycle { bucket, document });
        }
        if target.kind == StoreKind::SeaweedFs {
            let document = seaweedfs_iam(target);
            steps.push(Step::IamJson { document });
            return Self { steps };
        }
        let role = target.role.name().to_owned();
        steps.extend([
            Step::Provider {
                arn: target.role.provider(&target.issuer),
                url: target.issuer.to_string(),
                audience: AUDIENCE.to_owned(),
            },
            Step::Role {
                role: role.clone(),
                path: target.role.path().to_owned(),
                document: trust_policy(target),
            },
            Step::RolePolicy {
                role,
                policy: POLICY.to_owned(),
                document: role_policy(target),
            },
        ]);
        Self { steps }
    }
}

impl Step {
    /// What it is about, in one line.
    pub fn title(&self) -> String {
        match self {
            Self::Bucket { bucket, .. } => format!("bucket {bucket}"),
            Self::BucketPolicy { bucket, .. } => format!("policy of bucket {bucket}"),
            Self::Lifecycle { bucket, .. } => format!("lifecycle rule of bucket {bucket}"),
            Self::Provider { url, audience, .. } => {
                format!("OpenID Connect provider {url} for {audience}")
            }
            Self::Role { role, .. } => format!("role {role} and who may assume it"),
            Self::RolePolicy { role, policy, .. } => format!("policy {policy} of role {role}"),
            Self::IamJson { .. } => "iam.json of SeaweedFS (-s3.iam.config), by hand".to_owned(),
        }
    }

    /// Its document.
    pub fn document(&self) -> Option<&Value> {
        match self {
            Self::Bucket { .. } | Self::Provider { .. } => None,
            Self::BucketPolicy { document, .. }
            | Self::Lifecycle { document, .. }
            | Self::Role { document, .. }
            | Self::RolePolicy { document, .. }
            | Self::IamJson { document } => Some(document),
        }
    }
}
