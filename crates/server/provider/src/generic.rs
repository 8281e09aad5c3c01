//! A store of which only S3 is known (R2, COS, MinIO and others): its buckets are managed
//! with static keys, and keys for tenants are made by other means.

use async_trait::async_trait;

use crate::s3::Buckets;
use crate::{
    BucketInfo, BucketName, Config, Creation, Emptied, Error, Grant, IssuedKey, KeyHandle, Kind,
    Marker, NewKey, Page, Place, Provider, Result, Settings, Step, sdk,
};

/// Buckets without keys.
pub(crate) struct Generic {
    place: Place,
    buckets: Buckets,
}

impl Generic {
    pub(crate) fn open(config: Config, place: Place) -> Result<Self> {
        if config.iam_endpoint.is_some() {
            return Err(Error::invalid(
                "a generic store has no IAM\nhint: leave the IAM endpoint out",
            ));
        }
        let client = sdk::s3_client(&config, &place);
        Ok(Self {
            buckets: Buckets::new(client, Kind::Generic, place.region.clone()),
            place,
        })
    }
}

#[async_trait]
impl Provider for Generic {
    fn kind(&self) -> Kind {
        Kind::Generic
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

    fn steps(&self, _: &Grant) -> Result<&'static [Step]> {
        Err(no_keys())
    }

    async fn take_step(&self, _: Step, _: &Grant, _: &mut KeyHandle) -> Result<Option<NewKey>> {
        Err(no_keys())
    }

    async fn revoke(&self, _: &KeyHandle) -> Result<()> {
        Err(no_keys())
    }

    async fn list_keys(&self, _: Option<&Marker>) -> Result<Page<IssuedKey>> {
        Err(no_keys())
    }
}

fn no_keys() -> Error {
    Error::unsupported("an API for keys that is known here")
}
