//! The same suite for the stores that can be run here.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use artifacts_provider::check::{Limits, Outcome, check};
use artifacts_provider::{
    Access, BucketInfo, BucketName, Creation, Emptied, Error, Grant, IssuedKey, KeyHandle, Kind,
    Marker, NewKey, Page, Place, Provider, Result, Setting, Settings, Step,
};
use common::conformance::{self, Known};
use common::{Embedded, bucket, grant, provider, reach, seaweedfs};
use testkit::tools::Tool;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    let store = Embedded::start().await;
    let known = Known {
        uploads_expire: Setting::Applied,
        public_access_blocked: Setting::Unsupported,
        cors_off: Setting::Unsupported,
    };
    conformance::all(&*store.provider(), &known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_itself() {
    testkit::require!(Tool::Weed);
    let store = seaweedfs();
    let known = Known {
        uploads_expire: Setting::Applied,
        public_access_blocked: Setting::Unsupported,
        cors_off: Setting::Applied,
    };
    let provider = provider(Kind::Seaweedfs, &store.endpoint());
    conformance::all(&*provider, &known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_store_has_buckets_and_no_keys() {
    let store = Embedded::start().await;
    let provider = provider(Kind::Generic, &store.server.endpoint());
    let name = bucket("generic-bucket");
    assert_eq!(provider.create_bucket(&name).await, Ok(Creation::New));
    let refused = provider.steps(&grant(1, "generic-bucket", None, Access::ReadOnly));
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
    let refused = provider.list_keys(None).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
    let report = check(
        &*provider,
        &reach(&*provider),
        Limits::default(),
        Uuid::new_v4,
    )
    .await;
    assert!(report.is_good(), "{report:#?}");
    let unsupported = |row: &artifacts_provider::check::Row| {
        row.what == "issue" && row.outcome == Outcome::Unsupported
    };
    assert!(report.rows.iter().any(unsupported), "{report:#?}");
    provider.delete_bucket(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_leaves_nothing_behind() {
    let store = Embedded::start().await;
    let provider = store.provider();
    let report = check(
        &*provider,
        &reach(&*provider),
        Limits::default(),
        Uuid::new_v4,
    )
    .await;
    assert!(report.is_good(), "{report:#?}");
    let refusals = report
        .rows
        .iter()
        .filter(|row| row.seen == "refused")
        .count();
    assert!(refusals > 40, "{refusals}");
    conformance::nothing_is_left(&*provider).await;
    assert_eq!(provider.list_buckets(None).await.unwrap().items, []);
    let keys = store.server.keys().list().unwrap();
    assert_eq!(keys.len(), 1, "the root key only");
}

/// A store whose keys open everything, and go on doing so.
struct Generous {
    inner: Arc<dyn Provider>,
    store: Embedded,
}

#[async_trait::async_trait]
impl Provider for Generous {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn place(&self) -> &Place {
        self.inner.place()
    }

    async fn create_bucket(&self, bucket: &BucketName) -> Result<Creation> {
        self.inner.create_bucket(bucket).await
    }

    async fn settle_bucket(&self, bucket: &BucketName) -> Result<Settings> {
        self.inner.settle_bucket(bucket).await
    }

    async fn empty_bucket(&self, bucket: &BucketName) -> Result<Emptied> {
        self.inner.empty_bucket(bucket).await
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        self.inner.delete_bucket(bucket).await
    }

    async fn list_buckets(&self, from: Option<&Marker>) -> Result<Page<BucketInfo>> {
        self.inner.list_buckets(from).await
    }

    fn steps(&self, grant: &Grant) -> Result<&'static [Step]> {
        self.inner.steps(grant)
    }

    async fn take_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>> {
        let made = self.inner.take_step(step, grant, handle).await?;
        Ok(made.map(|_| {
            let all = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
            let key = self.store.server.keys().add(all).unwrap();
            NewKey {
                access_key_id: key.id,
                secret_access_key: key.secret,
            }
        }))
    }

    async fn revoke(&self, handle: &KeyHandle) -> Result<()> {
        self.inner.revoke(handle).await
    }

    async fn list_keys(&self, from: Option<&Marker>) -> Result<Page<IssuedKey>> {
        self.inner.list_keys(from).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_a_bad_store_allows_and_takes_that_back_too() {
    let store = Embedded::start().await;
    let bad = Generous {
        inner: store.provider(),
        store,
    };
    let limits = Limits {
        dead: Duration::from_millis(300),
        ..Limits::default()
    };
    let report = check(&bad, &reach(&bad), limits, Uuid::new_v4).await;
    assert!(!report.is_good());
    let failed = |subject: &str, what: &str| {
        report.rows.iter().any(|row| {
            let named = row.subject == subject && row.what.starts_with(what);
            named && row.outcome == Outcome::Failed
        })
    };
    for what in [
        "put",
        "overwrite",
        "delete",
        "begin an upload",
        "list another bucket",
        "get from another bucket",
        "copy from another bucket",
        "see other buckets' names",
        "make a bucket",
        // Later, the list that must not be answered any more.
        "list, ",
    ] {
        assert!(failed("ro key", what), "{what}: {report:#?}");
    }
    assert!(failed("prefix key", "get beside the prefix"), "{report:#?}");
    assert_eq!(bad.list_buckets(None).await.unwrap().items, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_admin_keys_are_told_from_a_store_that_is_away() {
    let store = Embedded::start().await;
    let mut config = artifacts_provider::Config::new(Kind::Embedded, common::admin());
    config.endpoint = Some(store.server.endpoint().parse().unwrap());
    config.admin.secret_access_key = "wrong".to_owned().into();
    let wrong = artifacts_provider::open(config).unwrap();
    let refused = wrong.list_keys(None).await;
    let denied = Error::Denied {
        action: "ListUsers".into(),
        code: "SignatureDoesNotMatch".into(),
    };
    assert_eq!(refused, Err(denied));
    let endpoint = store.server.endpoint();
    store.server.stop().await;
    let away = provider(Kind::Embedded, &endpoint).list_keys(None).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })), "{away:?}");
}
