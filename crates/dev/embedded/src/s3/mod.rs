//! The S3 API on top of the store: one short method per operation, the work beside it.

mod convert;
mod copy;
mod listing;
mod objects;
mod receive;
mod send;
mod settings;
mod upload_page;
mod uploads;

use std::sync::Arc;

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::bucket_policies::BucketPolicies;
use crate::store::Store;

/// The region that this store is in, whatever a client signs for.
pub const REGION: &str = "us-east-1";

/// What the crate s3s calls.
pub(crate) struct Backend {
    store: Arc<Store>,
    policies: Arc<BucketPolicies>,
}

impl Backend {
    pub(crate) fn new(store: Arc<Store>, policies: Arc<BucketPolicies>) -> Self {
        Self { store, policies }
    }
}

/// The one owner of everything.
fn owner() -> Owner {
    Owner {
        id: Some("artifacts".into()),
        display_name: Some("artifacts".into()),
    }
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait]
impl S3 for Backend {
    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let prefix = req.input.prefix;
        let wanted = |name: &str| {
            prefix
                .as_deref()
                .is_none_or(|prefix| name.starts_with(prefix))
        };
        let named = self
            .store
            .list_buckets()?
            .into_iter()
            .filter(|(name, _)| wanted(name));
        let buckets = named.map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(convert::timestamp(created)),
            bucket_region: None,
        });
        let output = ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(owner()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        let location = format!("/{}", req.input.bucket);
        self.store.create_bucket(req.input.bucket).await?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(location),
        }))
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        let bucket = req.input.bucket;
        self.policies.delete_bucket(&self.store, bucket).await?;
        Ok(S3Response::with_status(
            DeleteBucketOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.store.head_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.into()),
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        self.store.head_bucket(&req.input.bucket)?;
        // us-east-1 is written as nothing (S3 API, GetBucketLocation).
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        self.store.head_bucket(&req.input.bucket)?;
        // Never enabled: an empty answer (S3 API, GetBucketVersioning).
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn put_bucket_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> Answer<PutBucketPolicyOutput> {
        self.put_policy(req).await
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> Answer<GetBucketPolicyOutput> {
        self.policy(&req)
    }

    async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> Answer<DeleteBucketPolicyOutput> {
        self.delete_policy(req).await
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        self.put_lifecycle(req).await
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        self.lifecycle(&req)
    }

    async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        self.delete_lifecycle(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        self.list_v2(req).await
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        self.list_v1(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.get(req)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.head(req)
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.put(req).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        self.copy(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.delete(req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        self.delete_many(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        self.create(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.part(req).await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> Answer<UploadPartCopyOutput> {
        self.part_copy(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        self.complete(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.abort(req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        self.parts(req)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        self.uploads(req)
    }
}
