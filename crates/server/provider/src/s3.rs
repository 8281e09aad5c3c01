//! The administrator's calls about buckets.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    CreateBucketConfiguration, Delete, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    ObjectIdentifier, PublicAccessBlockConfiguration,
};

use crate::sdk::Asked;
use crate::{BucketInfo, BucketName, Creation, Emptied, Error, Kind, Marker, Page, Result};
use crate::{Setting, Settings};

/// The rule by which we know our own.
const RULE: &str = "artifacts-unfinished-uploads";

/// As many as one DeleteObjects takes.
const PAGE: i32 = 1000;

/// The buckets of one store.
pub(crate) struct Buckets {
    client: Client,
    kind: Kind,
    region: String,
}

impl Buckets {
    pub(crate) fn new(client: Client, kind: Kind, region: String) -> Self {
        Self {
            client,
            kind,
            region,
        }
    }

    pub(crate) async fn create(&self, bucket: &BucketName) -> Result<Creation> {
        // Amazon answers 200 in us-east-1 when a bucket is ours already, and others call it
        // somebody else's: so it is looked for first.
        match self.head(bucket).await {
            Err(Error::NotFound { .. }) => {}
            Err(error) if error.may_pass() => return Err(error),
            Ok(()) | Err(_) => return self.claimed(bucket).await,
        }
        let place = (self.kind == Kind::Aws && self.region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
                .build()
        });
        let request = self.client.create_bucket().bucket(bucket.as_str());
        let made = request.set_create_bucket_configuration(place).send().await;
        match made.map_err(|error| about("CreateBucket", bucket).failed(error)) {
            Ok(_) => Ok(Creation::New),
            // Somebody was quicker; perhaps we ourselves, in a call without an answer.
            Err(Error::AlreadyExists { .. }) => self.claimed(bucket).await,
            Err(other) => Err(other),
        }
    }

    pub(crate) async fn settle(&self, bucket: &BucketName) -> Result<Settings> {
        Ok(Settings {
            uploads_expire: known(self.expire_uploads(bucket).await)?,
            public_access_blocked: known(self.block_public_access(bucket).await)?,
            cors_off: known(self.turn_cors_off(bucket).await)?,
        })
    }

    pub(crate) async fn empty(&self, bucket: &BucketName) -> Result<Emptied> {
        let (objects, more_objects) = self.delete_a_page(bucket).await?;
        let (uploads, more_uploads) = self.abort_a_page(bucket).await?;
        Ok(Emptied {
            objects,
            uploads,
            more: more_objects || more_uploads,
        })
    }

    pub(crate) async fn delete(&self, bucket: &BucketName) -> Result<()> {
        // SeaweedFS deletes full buckets too, so it is not left to the store.
        self.check_empty(bucket).await?;
        let deleted = self.client.delete_bucket().bucket(bucket.as_str());
        match deleted.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(about("DeleteBucket", bucket).failed(error)),
        }
    }

    pub(crate) async fn list(&self, from: Option<&Marker>) -> Result<Page<BucketInfo>> {
        self.list_beginning(None, from).await
    }

    async fn head(&self, bucket: &BucketName) -> Result<()> {
        let head = self.client.head_bucket().bucket(bucket.as_str());
        match head.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(about("HeadBucket", bucket).failed(error)),
        }
    }

    /// Whose a bucket is that exists: ListBuckets shows ours only.
    async fn claimed(&self, bucket: &BucketName) -> Result<Creation> {
        let mut from = None;
        loop {
            let page = self.list_beginning(Some(bucket), from.as_ref()).await?;
            if page.items.iter().any(|info| info.name == bucket.as_str()) {
                return Ok(Creation::AlreadyOurs);
            }
            from = page.next;
            if from.is_none() {
                return Err(Error::AlreadyExists {
                    what: format!("the bucket {bucket}"),
                });
            }
        }
    }

    async fn list_beginning(
        &self,
        begin: Option<&BucketName>,
        from: Option<&Marker>,
    ) -> Result<Page<BucketInfo>> {
        let mut request = self.client.list_buckets();
        if self.kind == Kind::Aws {
            // Others know no pages here; without a number Amazon sends everything at once.
            request = request.max_buckets(PAGE);
        }
        let answer = request
            .set_prefix(begin.map(BucketName::to_string))
            .set_continuation_token(from.map(|marker| marker.0.clone()))
            .send()
            .await;
        let answer = answer.map_err(|error| everywhere("ListBuckets").failed(error))?;
        let names = answer.buckets().iter().filter_map(|bucket| bucket.name());
        Ok(Page {
            items: names.map(|name| BucketInfo { name: name.into() }).collect(),
            next: answer
                .continuation_token()
                .map(|token| Marker(token.into())),
        })
    }

    /// Puts our rule beside those that are there.
    async fn expire_uploads(&self, bucket: &BucketName) -> Result<Setting> {
        let mut rules = self.lifecycle_rules(bucket).await?;
        if rules.iter().any(|rule| rule.id() == Some(RULE)) {
            return Ok(Setting::Applied);
        }
        rules.push(upload_rule()?);
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules));
        let request = self
            .client
            .put_bucket_lifecycle_configuration()
            .bucket(bucket.as_str())
            .lifecycle_configuration(rules.build().map_err(Error::invalid)?);
        let put = request.send().await;
        put.map_err(|e| about("PutBucketLifecycleConfiguration", bucket).failed(e))?;
        // Some stores say yes and keep nothing.
        let kept = self.lifecycle_rules(bucket).await?;
        Ok(applied(kept.iter().any(|rule| rule.id() == Some(RULE))))
    }

    async fn lifecycle_rules(&self, bucket: &BucketName) -> Result<Vec<LifecycleRule>> {
        let request = self.client.get_bucket_lifecycle_configuration();
        match request.bucket(bucket.as_str()).send().await {
            Ok(answer) => Ok(answer.rules.unwrap_or_default()),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
            Err(error) => Err(about("GetBucketLifecycleConfiguration", bucket).failed(error)),
        }
    }

    async fn block_public_access(&self, bucket: &BucketName) -> Result<Setting> {
        let all = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let request = self.client.put_public_access_block();
        let request = request.bucket(bucket.as_str());
        let put = request
            .public_access_block_configuration(all.clone())
            .send()
            .await;
        put.map_err(|error| about("PutPublicAccessBlock", bucket).failed(error))?;
        let kept = self.client.get_public_access_block();
        let kept = kept.bucket(bucket.as_str()).send().await;
        let kept = kept.map_err(|error| about("GetPublicAccessBlock", bucket).failed(error))?;
        Ok(applied(
            kept.public_access_block_configuration() == Some(&all),
        ))
    }

    /// Only where there is one: a store that does not know `?cors` might take the deletion
    /// for that of the bucket.
    async fn turn_cors_off(&self, bucket: &BucketName) -> Result<Setting> {
        let request = self.client.get_bucket_cors();
        match request.bucket(bucket.as_str()).send().await {
            Err(error) if error.code() == Some("NoSuchCORSConfiguration") => {
                return Ok(Setting::Applied);
            }
            Err(error) => return Err(about("GetBucketCors", bucket).failed(error)),
            Ok(answer) if answer.cors_rules().is_empty() => return Ok(Setting::Applied),
            Ok(_) => {}
        }
        let deleted = self.client.delete_bucket_cors().bucket(bucket.as_str());
        let deleted = deleted.send().await;
        deleted.map_err(|error| about("DeleteBucketCors", bucket).failed(error))?;
        Ok(Setting::Applied)
    }

    async fn delete_a_page(&self, bucket: &BucketName) -> Result<(usize, bool)> {
        let request = self.client.list_objects_v2().bucket(bucket.as_str());
        let listed = request.max_keys(PAGE).send().await;
        let listed = listed.map_err(|error| about("ListObjectsV2", bucket).failed(error))?;
        let keys = listed.contents().iter().filter_map(|object| object.key());
        // A key that XML cannot carry is deleted by itself.
        let (plain, odd): (Vec<_>, Vec<_>) = keys.partition(|key| !key.contains(is_not_xml));
        self.delete_together(bucket, &plain).await?;
        for key in &odd {
            let request = self.client.delete_object().bucket(bucket.as_str());
            let deleted = request.key(*key).send().await;
            deleted.map_err(|error| about("DeleteObject", bucket).failed(error))?;
        }
        let more = listed.is_truncated().unwrap_or(false);
        Ok((plain.len() + odd.len(), more))
    }

    async fn delete_together(&self, bucket: &BucketName, keys: &[&str]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let identifier = |key: &&str| ObjectIdentifier::builder().key(*key).build();
        let keys: std::result::Result<Vec<_>, _> = keys.iter().map(identifier).collect();
        let delete = Delete::builder()
            .set_objects(Some(keys.map_err(Error::invalid)?))
            .quiet(true)
            .build()
            .map_err(Error::invalid)?;
        let request = self.client.delete_objects().bucket(bucket.as_str());
        let answer = request.delete(delete).send().await;
        let answer = answer.map_err(|error| about("DeleteObjects", bucket).failed(error))?;
        match answer.errors().first() {
            None => Ok(()),
            Some(first) => Err(Error::Denied {
                action: "DeleteObjects".into(),
                code: first.code().unwrap_or("no code").into(),
            }),
        }
    }

    async fn abort_a_page(&self, bucket: &BucketName) -> Result<(usize, bool)> {
        let request = self.client.list_multipart_uploads();
        let request = request.bucket(bucket.as_str()).max_uploads(PAGE);
        let listed = request.send().await;
        let listed = listed.map_err(|e| about("ListMultipartUploads", bucket).failed(e))?;
        for upload in listed.uploads() {
            let request = self.client.abort_multipart_upload();
            let request = request.bucket(bucket.as_str());
            let request = request.set_key(upload.key.clone());
            let aborted = request.set_upload_id(upload.upload_id.clone()).send().await;
            let aborted = aborted.map(drop);
            let aborted = aborted.map_err(|e| about("AbortMultipartUpload", bucket).failed(e));
            crate::error::gone_is_done(aborted)?;
        }
        let more = listed.is_truncated().unwrap_or(false);
        Ok((listed.uploads().len(), more))
    }

    async fn check_empty(&self, bucket: &BucketName) -> Result<()> {
        let objects = self.client.list_objects_v2().bucket(bucket.as_str());
        let objects = objects.max_keys(1).send().await;
        let objects = objects.map_err(|error| about("ListObjectsV2", bucket).failed(error))?;
        let uploads = self.client.list_multipart_uploads();
        let uploads = uploads.bucket(bucket.as_str()).max_uploads(1).send().await;
        let uploads = uploads.map_err(|e| about("ListMultipartUploads", bucket).failed(e))?;
        if objects.contents().is_empty() && uploads.uploads().is_empty() {
            Ok(())
        } else {
            Err(Error::NotEmpty {
                bucket: bucket.to_string(),
            })
        }
    }
}

fn about<'a>(action: &'a str, bucket: &'a BucketName) -> Asked<'a> {
    Asked {
        action,
        what: bucket.as_str(),
    }
}

fn everywhere(action: &str) -> Asked<'_> {
    Asked {
        action,
        what: "the store",
    }
}

fn upload_rule() -> Result<LifecycleRule> {
    let abort = AbortIncompleteMultipartUpload::builder()
        .days_after_initiation(Settings::UPLOAD_DAYS)
        .build();
    LifecycleRule::builder()
        .id(RULE)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(abort)
        .build()
        .map_err(Error::invalid)
}

/// What a store does not know is said, and is no failure.
fn known(result: Result<Setting>) -> Result<Setting> {
    match result {
        Err(Error::Unsupported { .. }) => Ok(Setting::Unsupported),
        other => other,
    }
}

fn applied(kept: bool) -> Setting {
    if kept {
        Setting::Applied
    } else {
        Setting::Unsupported
    }
}

/// Characters that no XML 1.0 document may have (XML 1.0, "Characters").
fn is_not_xml(c: char) -> bool {
    (c.is_ascii_control() && !"\t\n\r".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}')
}
