//! Issuing and revoking while the store fails: at every call, in every way, and nothing is
//! left over and nothing is missing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifacts_provider::verify::Holder;
use artifacts_provider::{BucketName, Error, Issuing, Kind, NewKey, Provider, Result, issue};
use common::conformance::{all_issued, any_grant, nothing_is_left, right};
use common::gate::{Fate, Gate};
use common::{Embedded, bucket, provider, provider_with, reach, seaweedfs};
use testkit::tools::Tool;
use uuid::Uuid;

/// A store with a gate before it, and a way past the gate to see what there is.
struct Lab {
    gate: Gate,
    through: Arc<dyn Provider>,
    /// Through the gate too, and soon tired of waiting.
    hasty: Arc<dyn Provider>,
    past: Arc<dyn Provider>,
    /// The store, which goes last.
    _store: Box<dyn std::any::Any>,
}

impl Lab {
    async fn embedded() -> Self {
        let store = Embedded::start().await;
        let endpoint = store.server.endpoint();
        Self::before(Kind::Embedded, &endpoint, store).await
    }

    async fn seaweedfs() -> Self {
        let store = seaweedfs();
        let endpoint = store.endpoint();
        Self::before(Kind::Seaweedfs, &endpoint, store).await
    }

    async fn before(kind: Kind, endpoint: &str, store: impl std::any::Any) -> Self {
        let past = provider(kind, endpoint);
        let address = endpoint.trim_start_matches("http://").parse().unwrap();
        let gate = Gate::before(address).await;
        let through = provider(kind, &gate.endpoint());
        let hasty = provider_with(kind, &gate.endpoint(), Duration::from_secs(1));
        past.create_bucket(&bucket("conformance-any"))
            .await
            .unwrap();
        Self {
            gate,
            through,
            hasty,
            past,
            _store: Box::new(store),
        }
    }

    /// How many IAM calls something makes when all goes well.
    fn calls(&self) -> usize {
        let seen = self.gate.take_seen();
        seen.iter()
            .filter(|seen| seen.form().contains_key("Action"))
            .count()
    }

    /// Who shall ask when this is what comes of it.
    fn asking(&self, way: &Fate) -> &dyn Provider {
        match way {
            Fate::DoAndHang => &*self.hasty,
            _ => &*self.through,
        }
    }

    fn pass(&self) {
        self.gate.judge(|_| Fate::Pass);
    }

    async fn works(&self, key: &NewKey, credential: u128) {
        let scope = any_grant(credential).scope;
        let holder = Holder::new(&reach(&*self.past), key, scope);
        right(&holder.wait_alive(Duration::from_secs(5)).await);
    }
}

/// The ways in which a call can fail that may pass; that of `DoAndHang` takes a second each.
fn ways() -> Vec<Fate> {
    vec![
        Fate::refusal(500, "ServiceFailure"),
        Fate::refusal(503, "Throttling").wait(0),
        Fate::DoAndBreak,
    ]
}

/// Goes on from wherever it is until it is done; a caller that lost its process begins anew
/// with what it had written down, or with nothing.
async fn issue_again(provider: &dyn Provider, credential: u128) -> Result<NewKey> {
    let grant = any_grant(credential);
    let mut issuing = Issuing::begin(provider, &grant, None)?;
    while issuing.next_step().is_some() {
        issuing.advance().await?;
    }
    Ok(issuing.finish().1.unwrap())
}

async fn issuing_fails_at_every_call(lab: &Lab, ways: &[Fate]) {
    issue_again(&*lab.through, 1).await.unwrap();
    let calls = lab.calls();
    assert!(calls >= 5, "{calls}");
    lab.past.revoke(&handle(1)).await.unwrap();
    let mut id = 100;
    for call in 0..calls {
        for way in ways {
            // Crash, and begin again with nothing but the id.
            id += 1;
            lab.gate.at_call(call, way.clone());
            let failed = issue_again(lab.asking(way), id).await;
            assert!(
                failed.as_ref().is_err_and(Error::may_pass),
                "{call} {way:?}"
            );
            lab.pass();
            let key = issue_again(&*lab.through, id).await.unwrap();
            let listed = all_issued(&*lab.past).await;
            assert_eq!(listed.len(), 1, "{call} {way:?}: {listed:?}");
            assert_eq!(listed[0].access_key_ids, [key.access_key_id.as_str()]);
            lab.works(&key, id).await;
            lab.past.revoke(&handle(id)).await.unwrap();
            nothing_is_left(&*lab.past).await;

            // Crash, and take everything back with nothing but the id.
            id += 1;
            lab.gate.at_call(call, way.clone());
            assert!(issue_again(lab.asking(way), id).await.is_err());
            lab.pass();
            lab.through.revoke(&handle(id)).await.unwrap();
            nothing_is_left(&*lab.past).await;
            no_policy_is_left(lab, id).await;
        }
    }
}

async fn revoking_fails_at_every_call(lab: &Lab, ways: &[Fate]) {
    issue_again(&*lab.past, 1).await.unwrap();
    lab.gate.take_seen();
    lab.through.revoke(&handle(1)).await.unwrap();
    let calls = lab.calls();
    assert!(calls >= 6, "{calls}");
    let mut id = 500;
    for call in 0..calls {
        for way in ways {
            id += 1;
            let key = issue_again(&*lab.past, id).await.unwrap();
            lab.gate.at_call(call, way.clone());
            let failed = lab.asking(way).revoke(&handle(id)).await;
            assert!(
                failed.is_err_and(|error| error.may_pass()),
                "{call} {way:?}"
            );
            lab.pass();
            lab.through.revoke(&handle(id)).await.unwrap();
            nothing_is_left(&*lab.past).await;
            no_policy_is_left(lab, id).await;
            let holder = Holder::new(&reach(&*lab.past), &key, any_grant(id).scope);
            right(&holder.wait_dead(Duration::from_secs(5)).await);
        }
    }
}

/// A policy is found by its name, so one that is left shows when it is made again: the store
/// says that it exists, and its list is asked.
async fn no_policy_is_left(lab: &Lab, id: u128) {
    lab.gate.take_seen();
    let (grant, mut handle) = (any_grant(id), handle(id));
    let step = artifacts_provider::Step::EnsurePolicy;
    lab.through
        .take_step(step, &grant, &mut handle)
        .await
        .unwrap();
    let actions: Vec<_> = lab
        .gate
        .take_seen()
        .iter()
        .map(|seen| seen.action())
        .collect();
    assert_eq!(actions, ["CreatePolicy"], "a policy was left");
    lab.past.revoke(&handle).await.unwrap();
}

fn handle(id: u128) -> artifacts_provider::KeyHandle {
    artifacts_provider::KeyHandle::new(Uuid::from_u128(id))
}

/// A bucket from nothing to nothing; what is there or gone already counts as done.
async fn a_bucket_comes_and_goes(provider: &dyn Provider, name: &BucketName) -> Result<()> {
    provider.create_bucket(name).await?;
    provider.settle_bucket(name).await?;
    take_bucket_back(provider, name).await
}

async fn take_bucket_back(provider: &dyn Provider, name: &BucketName) -> Result<()> {
    let emptied = async {
        while provider.empty_bucket(name).await?.more {}
        provider.delete_bucket(name).await
    };
    match emptied.await {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

async fn buckets_fail_at_every_call(lab: &Lab) {
    let name = bucket("faults-bucket");
    lab.gate.take_seen();
    a_bucket_comes_and_goes(&*lab.through, &name).await.unwrap();
    let calls = lab.gate.take_seen().len();
    assert!(calls >= 8, "{calls}");
    for call in 0..calls {
        for way in [
            Fate::s3_refusal(500, "InternalError"),
            Fate::s3_refusal(503, "SlowDown").wait(0),
            Fate::DoAndBreak,
        ] {
            // Begun again with nothing but the name, or taken back with nothing else.
            for goes_on in [true, false] {
                lab.gate.at_request(call, way.clone());
                let failed = a_bucket_comes_and_goes(&*lab.through, &name).await;
                assert!(
                    failed.as_ref().is_err_and(Error::may_pass),
                    "{call} {way:?}: {failed:?}"
                );
                lab.pass();
                match goes_on {
                    true => a_bucket_comes_and_goes(&*lab.through, &name).await,
                    false => take_bucket_back(&*lab.through, &name).await,
                }
                .unwrap();
                let left = lab.past.list_buckets(None).await.unwrap().items;
                let left: Vec<_> = left.iter().map(|info| info.name.as_str()).collect();
                assert_eq!(left, ["conformance-any"], "{call} {way:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_fails_at_every_call_of_issuing() {
    issuing_fails_at_every_call(&Lab::embedded().await, &ways()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_fails_at_every_call_of_revoking() {
    revoking_fails_at_every_call(&Lab::embedded().await, &ways()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_does_every_call_and_never_answers() {
    let lab = Lab::embedded().await;
    issuing_fails_at_every_call(&lab, &[Fate::DoAndHang]).await;
    revoking_fails_at_every_call(&lab, &[Fate::DoAndHang]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_fails_at_every_call_about_a_bucket() {
    buckets_fail_at_every_call(&Lab::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_fails_at_every_call() {
    testkit::require!(Tool::Weed);
    let lab = Lab::seaweedfs().await;
    issuing_fails_at_every_call(&lab, &ways()).await;
    revoking_fails_at_every_call(&lab, &ways()).await;
    buckets_fail_at_every_call(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_after_its_work_is_given_up_and_done_again() {
    let lab = Lab::embedded().await;
    // The call that makes the key is the last one.
    lab.gate.judge(|seen| match seen.action().as_str() {
        "CreateAccessKey" => Fate::DoAndHang,
        _ => Fate::Pass,
    });
    let begun = Instant::now();
    let failed = issue_again(&*lab.hasty, 1).await;
    assert!(failed.is_err_and(|error| error.may_pass()));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let unknown = all_issued(&*lab.past).await;
    assert_eq!(unknown[0].access_key_ids.len(), 1, "the store did it");
    lab.pass();
    let key = issue_again(&*lab.hasty, 1).await.unwrap();
    let listed = all_issued(&*lab.past).await;
    assert_eq!(listed[0].access_key_ids, [key.access_key_id.as_str()]);
    lab.works(&key, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_waits_as_long_as_the_store_says_and_no_longer() {
    let lab = Lab::embedded().await;
    let mut refusals = 2;
    lab.gate.judge(move |seen| {
        if seen.action() == "CreateUser" && refusals > 0 {
            refusals -= 1;
            return Fate::refusal(400, "Throttling").wait(1);
        }
        Fate::Pass
    });
    let begun = Instant::now();
    let (_, key) = issue(&*lab.through, &any_grant(1)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    lab.works(&key, 1).await;

    lab.gate.judge(|seen| match seen.action().as_str() {
        "CreateUser" => Fate::refusal(503, "SlowDown").wait(3600),
        _ => Fate::Pass,
    });
    let failed = issue(&*lab.through, &any_grant(2)).await.err().unwrap();
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(failed.error.retry_after(), hour);
    assert!(failed.left_over.is_none(), "{failed:?}");
    assert_eq!(all_issued(&*lab.past).await.len(), 1, "the first one only");
    no_policy_is_left(&lab, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_said() {
    let lab = Lab::embedded().await;
    lab.gate.judge(|seen| match seen.action().as_str() {
        "AttachUserPolicy" => Fate::refusal(403, "AccessDenied"),
        "DeleteUser" => Fate::refusal(403, "AccessDenied"),
        _ => Fate::Pass,
    });
    let failed = issue(&*lab.through, &any_grant(1)).await.err().unwrap();
    let denied = |action: &str| Error::Denied {
        action: action.into(),
        code: "AccessDenied".into(),
    };
    assert_eq!(failed.error, denied("AttachUserPolicy"));
    assert_eq!(failed.left_over.as_deref(), Some(&denied("DeleteUser")));
    let left = all_issued(&*lab.past).await;
    assert_eq!(left.len(), 1);
    assert!(left[0].access_key_ids.is_empty(), "no key was made");
    lab.pass();
    lab.through.revoke(&left[0].handle).await.unwrap();
    nothing_is_left(&*lab.past).await;
}

/// Everything that is logged in this thread, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In one thread, so that the log has it all; the store has threads of its own.
#[tokio::test]
async fn no_secret_is_in_the_log_at_trace_level() {
    let store = Embedded::start().await;
    let provider = store.provider();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let (handle, key) = issue(&*provider, &any_grant(1)).await.unwrap();
    provider.revoke(&handle).await.unwrap();
    drop(guard);
    let said = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(said.contains("CreateAccessKey"), "the log has the calls");
    let secret = secrecy::ExposeSecret::expose_secret(&key.secret_access_key);
    for secret in [secret, testkit::SECRET_ACCESS_KEY] {
        let place = said.find(secret);
        let context = place.map(|at| &said[at.saturating_sub(300)..at]);
        assert_eq!(context, None, "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_error_or_debug_text() {
    let lab = Lab::embedded().await;
    lab.gate.judge(|seen| match seen.action().as_str() {
        "CreateAccessKey" => Fate::refusal(400, "ValidationError"),
        _ => Fate::Pass,
    });
    let failed = issue(&*lab.through, &any_grant(1)).await.err().unwrap();
    let said = format!("{failed:?} {}", failed.error);
    assert!(!said.contains(testkit::SECRET_ACCESS_KEY), "{said}");
    assert!(matches!(failed.error, Error::Invalid { .. }), "{said}");
}
