//! A key as its holder meets it: what it opens, what it must not open, and when it is dead.
//!
//! A refusal counts only when it is *the* refusal: 403 with the code `AccessDenied`. A store
//! that is busy, a bucket that is not there or a request that is wrong proves nothing.

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketCannedAcl, Delete, ObjectIdentifier};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Serialize;

use crate::{Access, BucketName, NewKey, Place, Prefix, Scope, sdk};

/// The request whose success leaves a bucket behind.
pub const MAKE_A_BUCKET: &str = "make a bucket";

/// How to reach a store with a key of somebody.
#[derive(Clone)]
pub struct Reach {
    /// Where it is.
    pub place: Place,
    /// Certificates (PEM) to trust instead of the machine's.
    pub ca_pem: Option<Vec<u8>>,
    /// The most time that one call may take.
    pub patience: Duration,
}

/// A key in use.
pub struct Holder {
    client: Client,
    scope: Scope,
}

/// What is around a key: objects that are there, and that it must not reach.
pub struct Surroundings {
    /// An object that the key must be able to read.
    pub own: String,
    /// An object of the same bucket beside the key's prefix, if it has one.
    pub beside: Option<String>,
    /// Another bucket of the same store.
    pub other_bucket: BucketName,
    /// An object in it.
    pub other: String,
}

/// What one request showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The request.
    pub request: String,
    /// What it should have come to.
    pub expected: Verdict,
    /// What it came to.
    pub seen: Verdict,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was done.
    Allowed,
    /// It was refused for lack of rights.
    Refused,
    /// The key is not known, or not any more.
    Dead,
    /// Something that proves nothing, in the store's words.
    Other(String),
}

impl Finding {
    /// Whether it is as it should be.
    pub fn is_right(&self) -> bool {
        self.expected == self.seen
    }
}

impl Holder {
    /// Takes a key in hand.
    pub fn new(reach: &Reach, key: &NewKey, scope: Scope) -> Self {
        let keys = sdk::credentials(&key.access_key_id, &key.secret_access_key, None);
        let ca_pem = reach.ca_pem.as_deref();
        Self {
            client: sdk::s3_client_with(keys, &reach.place, ca_pem, reach.patience),
            scope,
        }
    }

    /// Waits until the key may list what it opens. A new key takes a moment at some stores.
    pub async fn wait_alive(&self, limit: Duration) -> Finding {
        self.wait_for(Verdict::Allowed, limit).await
    }

    /// Waits until the key is not taken any more.
    pub async fn wait_dead(&self, limit: Duration) -> Finding {
        self.wait_for(Verdict::Dead, limit).await
    }

    /// Writes an object, for the surroundings of others.
    pub async fn put(&self, key: &str) -> Finding {
        let seen = self.try_put(self.bucket(), key).await;
        finding(&format!("put {key}"), Verdict::Allowed, seen)
    }

    /// Tries every verb there is, in its own place and in others.
    pub async fn try_everything(&self, around: &Surroundings) -> Vec<Finding> {
        let mut found = self.try_own(around).await;
        found.extend(self.try_beside(around).await);
        found.extend(self.try_other_bucket(around).await);
        found.extend(self.try_bucket_itself().await);
        found
    }

    /// The name of the bucket that [`try_everything`](Self::try_everything) tries to make.
    pub fn spare_bucket(&self) -> String {
        let name = format!("{}-more", self.bucket());
        name.get(..63).unwrap_or(&name).to_owned()
    }

    async fn try_own(&self, around: &Surroundings) -> Vec<Finding> {
        let (bucket, own) = (self.bucket(), around.own.as_str());
        let write = match self.scope.access {
            Access::ReadWrite => Verdict::Allowed,
            Access::ReadOnly => Verdict::Refused,
        };
        let prefix = self.scope.prefix.as_ref().map_or("", Prefix::as_str);
        let [made, copied, together] =
            ["made", "copied", "together"].map(|name| format!("{prefix}check-{name}"));
        let allowed = || Verdict::Allowed;
        vec![
            finding("list", allowed(), self.try_list(bucket, prefix).await),
            finding("get", allowed(), self.try_get(bucket, own).await),
            finding("head", allowed(), self.try_head(bucket, own).await),
            finding("put", write.clone(), self.try_put(bucket, &made).await),
            finding("overwrite", write.clone(), self.try_put(bucket, own).await),
            finding(
                "copy",
                write.clone(),
                self.try_copy(bucket, own, &copied).await,
            ),
            finding(
                "begin an upload",
                write.clone(),
                self.try_upload(bucket, &made).await,
            ),
            finding(
                "delete",
                write.clone(),
                self.try_delete(bucket, &made).await,
            ),
            finding(
                "delete many",
                write,
                self.try_delete_many(bucket, [&copied, &together]).await,
            ),
        ]
    }

    /// What is in the same bucket and not under the prefix.
    async fn try_beside(&self, around: &Surroundings) -> Vec<Finding> {
        let (Some(_), Some(beside)) = (&self.scope.prefix, &around.beside) else {
            return Vec::new();
        };
        let (bucket, key) = (self.bucket(), beside.as_str());
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        vec![
            refused("list everything", self.try_list(bucket, "").await),
            refused(
                "list beside the prefix",
                self.try_list(bucket, folder).await,
            ),
            refused("get beside the prefix", self.try_get(bucket, key).await),
            refused("head beside the prefix", self.try_head(bucket, key).await),
            refused("put beside the prefix", self.try_put(bucket, key).await),
            refused(
                "delete beside the prefix",
                self.try_delete(bucket, key).await,
            ),
            refused(
                "copy from beside the prefix",
                self.try_copy(bucket, key, &around.own).await,
            ),
        ]
    }

    async fn try_other_bucket(&self, around: &Surroundings) -> Vec<Finding> {
        let (bucket, key) = (&around.other_bucket, around.other.as_str());
        let prefix = self.scope.prefix.as_ref().map_or("", Prefix::as_str);
        vec![
            refused("list another bucket", self.try_list(bucket, prefix).await),
            refused("get from another bucket", self.try_get(bucket, key).await),
            refused("head in another bucket", self.try_head(bucket, key).await),
            refused("put into another bucket", self.try_put(bucket, key).await),
            refused(
                "delete in another bucket",
                self.try_delete(bucket, key).await,
            ),
            refused(
                "delete many in another bucket",
                self.try_delete_many(bucket, [key]).await,
            ),
            refused(
                "begin an upload in another bucket",
                self.try_upload(bucket, key).await,
            ),
            refused(
                "copy from another bucket",
                self.try_copy(bucket, key, &around.own).await,
            ),
            refused(
                "see other buckets' names",
                self.try_list_buckets(bucket).await,
            ),
        ]
    }

    async fn try_bucket_itself(&self) -> Vec<Finding> {
        let bucket = self.bucket().as_str();
        let policy = self.client.get_bucket_policy().bucket(bucket).send().await;
        let grown = self.client.put_bucket_policy().bucket(bucket);
        let grown = grown.policy(public_policy(bucket)).send().await;
        let acl = self.client.put_bucket_acl().bucket(bucket);
        let acl = acl.acl(BucketCannedAcl::PublicRead).send().await;
        let made = self.client.create_bucket().bucket(self.spare_bucket());
        let made = made.send().await;
        let deleted = self.client.delete_bucket().bucket(bucket).send().await;
        vec![
            refused("read the bucket's policy", verdict(policy)),
            refused("change the bucket's policy", verdict(grown)),
            refused("make the bucket public", verdict(acl)),
            refused(MAKE_A_BUCKET, verdict(made)),
            refused("delete the bucket", verdict(deleted)),
        ]
    }

    async fn wait_for(&self, wanted: Verdict, limit: Duration) -> Finding {
        let begun = Instant::now();
        let prefix = self.scope.prefix.as_ref().map_or("", Prefix::as_str);
        loop {
            let seen = self.try_list(self.bucket(), prefix).await;
            let waited = begun.elapsed();
            if seen == wanted || waited > limit {
                let request = format!("list, {} ms later", waited.as_millis());
                return finding(&request, wanted, seen);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn bucket(&self) -> &BucketName {
        &self.scope.bucket
    }

    async fn try_list(&self, bucket: &BucketName, prefix: &str) -> Verdict {
        let prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
        let request = self.client.list_objects_v2().bucket(bucket.as_str());
        verdict(request.set_prefix(prefix).max_keys(1).send().await)
    }

    async fn try_get(&self, bucket: &BucketName, key: &str) -> Verdict {
        let request = self.client.get_object().bucket(bucket.as_str());
        verdict(request.key(key).send().await)
    }

    async fn try_head(&self, bucket: &BucketName, key: &str) -> Verdict {
        let request = self.client.head_object().bucket(bucket.as_str());
        match request.key(key).send().await {
            // The answer to a HEAD has no body, so no code.
            Err(error) if status(&error) == 403 => Verdict::Refused,
            other => verdict(other),
        }
    }

    async fn try_put(&self, bucket: &BucketName, key: &str) -> Verdict {
        let request = self.client.put_object().bucket(bucket.as_str());
        let body = ByteStream::from_static(b"a check\n");
        verdict(request.key(key).body(body).send().await)
    }

    async fn try_delete(&self, bucket: &BucketName, key: &str) -> Verdict {
        let request = self.client.delete_object().bucket(bucket.as_str());
        verdict(request.key(key).send().await)
    }

    async fn try_delete_many<const N: usize>(
        &self,
        bucket: &BucketName,
        keys: [&str; N],
    ) -> Verdict {
        let named = keys.map(|key| ObjectIdentifier::builder().key(key).build().ok());
        let delete = Delete::builder().set_objects(Some(named.into_iter().flatten().collect()));
        let Ok(delete) = delete.build() else {
            return Verdict::Other("no keys to delete".into());
        };
        let request = self.client.delete_objects().bucket(bucket.as_str());
        match request.delete(delete).send().await {
            Ok(answer) if answer.errors().is_empty() => Verdict::Allowed,
            // Each key is judged by itself.
            Ok(answer) => {
                let code = answer.errors().iter().map(|error| error.code());
                match code
                    .map(Option::unwrap_or_default)
                    .find(|code| *code != "AccessDenied")
                {
                    None if answer.deleted().is_empty() => Verdict::Refused,
                    None => Verdict::Other("some were deleted".into()),
                    Some(code) => Verdict::Other(code.to_owned()),
                }
            }
            Err(error) => verdict::<(), _>(Err(error)),
        }
    }

    async fn try_upload(&self, bucket: &BucketName, key: &str) -> Verdict {
        let request = self.client.create_multipart_upload();
        verdict(request.bucket(bucket.as_str()).key(key).send().await)
    }

    /// Copies into the key's own bucket.
    async fn try_copy(&self, from: &BucketName, key: &str, to: &str) -> Verdict {
        let request = self.client.copy_object().bucket(self.bucket().as_str());
        let source = format!("{from}/{key}");
        verdict(request.copy_source(source).key(to).send().await)
    }

    /// Some stores list the buckets that a key opens instead of refusing.
    async fn try_list_buckets(&self, other: &BucketName) -> Verdict {
        match self.client.list_buckets().send().await {
            Ok(answer) => {
                let names = answer.buckets().iter().filter_map(|bucket| bucket.name());
                match names.into_iter().any(|name| name == other.as_str()) {
                    true => Verdict::Allowed,
                    false => Verdict::Refused,
                }
            }
            Err(error) => verdict::<(), _>(Err(error)),
        }
    }
}

fn refused(request: &str, seen: Verdict) -> Finding {
    finding(request, Verdict::Refused, seen)
}

fn finding(request: &str, expected: Verdict, seen: Verdict) -> Finding {
    Finding {
        request: request.to_owned(),
        expected,
        seen,
    }
}

fn verdict<T, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Verdict {
    let Err(error) = result else {
        return Verdict::Allowed;
    };
    let status = status(&error);
    match (status, error.code().unwrap_or_default()) {
        (403, "AccessDenied") => Verdict::Refused,
        (403, "InvalidAccessKeyId") => Verdict::Dead,
        (0, _) => Verdict::Other("no answer".into()),
        (status, "") => Verdict::Other(format!("HTTP {status}")),
        (_, code) => Verdict::Other(code.to_owned()),
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> u16 {
    let response = error.raw_response();
    response.map_or(0, |response| response.status().as_u16())
}

/// What a thief would write.
fn public_policy(bucket: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
    )
}
