//! The stores that speak AWS's IAM query API, each with its dialect.
//!
//! | | path | policy belongs to | key belongs to | pages |
//! |---|---|---|---|---|
//! | AWS, embedded | `/NAMESPACE/` | user | user | yes |
//! | SeaweedFS | none | user | user | policies only |
//! | Tigris | none | key | nobody | yes |
//!
//! So Tigris makes the key first and then gives it the policy; a key without a policy may
//! do nothing there. Its policies know no `s3:prefix`, so keys for a prefix are refused:
//! they could list names outside of it.

mod calls;
mod tigris;
mod users;

use async_trait::async_trait;

use crate::s3::Buckets;
use crate::{
    BucketInfo, BucketName, Config, Creation, Emptied, Error, Grant, IssuedKey, KeyHandle, Kind,
    Marker, Namespace, NewKey, Page, Place, Provider, Result, Settings, Step, policy, sdk,
};
use calls::Calls;

/// Who speaks how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Aws,
    Embedded,
    Seaweedfs,
    Tigris,
}

/// A store with IAM.
pub(crate) struct IamProvider {
    kind: Kind,
    place: Place,
    dialect: Dialect,
    namespace: Namespace,
    buckets: Buckets,
    calls: Calls,
}

impl IamProvider {
    pub(crate) fn open(config: Config, place: Place, dialect: Dialect) -> Result<Self> {
        let iam = config.iam_place()?;
        let client = sdk::iam_client(&config, iam.as_ref(), &place);
        let s3 = sdk::s3_client(&config, &place);
        Ok(Self {
            kind: config.kind,
            dialect,
            buckets: Buckets::new(s3, config.kind, place.region.clone()),
            calls: Calls::new(client, dialect, &config.namespace),
            namespace: config.namespace,
            place,
        })
    }

    /// The policy of a grant is there: found by its name, which stands for its content.
    async fn ensure_policy(&self, grant: &Grant, handle: &mut KeyHandle) -> Result<()> {
        let name = grant.policy_name(&self.namespace);
        let document = grant.scope.document();
        let arn = match self.calls.create_policy(&name, &document).await {
            Err(Error::AlreadyExists { .. }) => {
                let mut found = self.calls.policies_beginning(&name).await?;
                found.pop().ok_or_else(|| Error::Unavailable {
                    action: "ListPolicies".into(),
                    reason: format!("{name} exists and is not listed yet"),
                    retry_after: None,
                })?
            }
            answer => answer?,
        };
        handle.policy_arn = Some(arn);
        Ok(())
    }

    /// The policies of a credential: the handle's, and where that knows none, those that are
    /// found. Only policies with the credential's name are ever touched.
    async fn policies_of(&self, handle: &KeyHandle) -> Result<Vec<String>> {
        let begin = policy::policy_name_begin(&self.namespace, handle.credential);
        match &handle.policy_arn {
            None => self.calls.policies_beginning(&begin).await,
            Some(arn) if policy_of_arn(arn).starts_with(&begin) => Ok(vec![arn.clone()]),
            Some(arn) => Err(Error::invalid(format!(
                "{arn} is no policy of credential {}",
                handle.credential
            ))),
        }
    }
}

#[async_trait]
impl Provider for IamProvider {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn place(&self) -> &Place {
        &self.place
    }

    async fn create_bucket(&self, bucket: &BucketName) -> Result<Creation> {
        self.buckets.create(bucket).await
    }

    async fn settle_bucket(&self, bucket: &BucketName) -> Result<Settings> {
        self.buckets.settle(bucket).await
    }

    async fn empty_bucket(&self, bucket: &BucketName) -> Result<Emptied> {
        self.buckets.empty(bucket).await
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        self.buckets.delete(bucket).await
    }

    async fn list_buckets(&self, from: Option<&Marker>) -> Result<Page<BucketInfo>> {
        self.buckets.list(from).await
    }

    fn steps(&self, grant: &Grant) -> Result<&'static [Step]> {
        match self.dialect {
            Dialect::Tigris => tigris::steps(grant),
            Dialect::Aws | Dialect::Embedded | Dialect::Seaweedfs => Ok(users::STEPS),
        }
    }

    async fn take_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>> {
        match self.dialect {
            Dialect::Tigris => self.take_key_step(step, grant, handle).await,
            Dialect::Aws | Dialect::Embedded | Dialect::Seaweedfs => {
                self.take_user_step(step, grant, handle).await
            }
        }
    }

    async fn revoke(&self, handle: &KeyHandle) -> Result<()> {
        match self.dialect {
            Dialect::Tigris => self.revoke_key(handle).await,
            Dialect::Aws | Dialect::Embedded | Dialect::Seaweedfs => self.revoke_user(handle).await,
        }
    }

    async fn list_keys(&self, from: Option<&Marker>) -> Result<Page<IssuedKey>> {
        match self.dialect {
            Dialect::Tigris => self.list_named_keys(from).await,
            Dialect::Aws | Dialect::Embedded | Dialect::Seaweedfs => self.list_users(from).await,
        }
    }
}

impl Dialect {
    /// The path of what is made, where there are paths.
    fn path(self, namespace: &Namespace) -> Option<String> {
        match self {
            Self::Aws | Self::Embedded => Some(format!("/{namespace}/")),
            Self::Seaweedfs | Self::Tigris => None,
        }
    }
}

/// `name` of `arn:aws:iam::ACCOUNT:policy/PATH/name`.
fn policy_of_arn(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn out_of_order(needed: &str) -> Error {
    Error::invalid(format!(
        "the step needs {needed}, which an earlier step makes"
    ))
}
