//! What is set of a bucket: its policy and its lifecycle.

use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};

use super::{Answer, Backend};
use crate::lifecycle::Lifecycle;
use crate::policy::Policy as Document;
use crate::store::Setting;

/// The most that S3 takes of a bucket's policy ("Bucket policies", User Guide).
const POLICY_LIMIT: usize = 20 * 1024;

impl Backend {
    pub(super) async fn put_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> Answer<PutBucketPolicyOutput> {
        let PutBucketPolicyInput { bucket, policy, .. } = req.input;
        if policy.len() > POLICY_LIMIT {
            return Err(s3_error!(MalformedPolicy, "a policy has 20 KiB at most"));
        }
        let parsed = Document::of_bucket(&policy, &bucket)
            .map_err(|error| s3_error!(MalformedPolicy, "{error}"))?;
        let policy = Some((policy, parsed));
        self.policies.set(&self.store, bucket, policy).await?;
        Ok(no_content(PutBucketPolicyOutput::default()))
    }

    pub(super) fn policy(
        &self,
        req: &S3Request<GetBucketPolicyInput>,
    ) -> Answer<GetBucketPolicyOutput> {
        let policy = self.store.setting(&req.input.bucket, Setting::Policy)?;
        let missing = || s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist");
        Ok(S3Response::new(GetBucketPolicyOutput {
            policy: Some(policy.ok_or_else(missing)?),
        }))
    }

    pub(super) async fn delete_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> Answer<DeleteBucketPolicyOutput> {
        let bucket = req.input.bucket;
        self.policies.set(&self.store, bucket, None).await?;
        Ok(no_content(DeleteBucketPolicyOutput::default()))
    }

    pub(super) async fn put_lifecycle(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        let rules = req.input.lifecycle_configuration.map(|given| given.rules);
        let rules = rules.ok_or_else(|| s3_error!(MalformedXML, "there are no rules"))?;
        let lifecycle = Lifecycle::of_s3(&rules)?;
        let value = Some(lifecycle.to_text());
        self.store
            .set(req.input.bucket, Setting::Lifecycle, value)
            .await?;
        let output = PutBucketLifecycleConfigurationOutput::default();
        Ok(S3Response::new(output))
    }

    pub(super) fn lifecycle(
        &self,
        req: &S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        let text = self.store.setting(&req.input.bucket, Setting::Lifecycle)?;
        let text = text.ok_or_else(|| {
            let message = "The lifecycle configuration does not exist";
            s3_error!(NoSuchLifecycleConfiguration, "{message}")
        })?;
        let lifecycle = Lifecycle::of_text(&text).map_err(s3s::S3Error::internal_error)?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(lifecycle.to_s3()),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        self.store
            .set(req.input.bucket, Setting::Lifecycle, None)
            .await?;
        Ok(no_content(DeleteBucketLifecycleOutput::default()))
    }
}

fn no_content<T>(output: T) -> S3Response<T> {
    S3Response::with_status(output, hyper::StatusCode::NO_CONTENT)
}
