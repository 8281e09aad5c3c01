//! Opening a workspace: from its name to its bucket. Every command that works in a
//! workspace begins here.

use std::sync::Arc;
use std::time::Duration;

use bucket::probe::{self, Capabilities};
use bucket::s3::{Config, S3Bucket};
use bucket::{Bucket, ListPage, ListRequest};
use credentials::{Field, Source, StorageKeys, WorkspaceConfig};
use model::WorkspaceName;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::marker::Marker;

/// What signs requests where no region is known anywhere; every store takes it or says
/// which one it wants.
const DEFAULT_REGION: &str = "us-east-1";

/// The most time that a command waits to learn whether the store answers at all.
const FIRST_ANSWER: Duration = Duration::from_secs(12);

/// An issued key may take so long to count everywhere.
const NEW_KEY: Duration = Duration::from_secs(30);

/// A workspace of this machine, ready for use. Nothing was asked of the store yet.
pub(crate) struct Opened {
    /// Its name on this machine.
    pub(crate) name: WorkspaceName,
    /// Its file.
    pub(crate) config: WorkspaceConfig,
    /// Its bucket, the whole of it: keys begin with `config.prefix`.
    pub(crate) bucket: Arc<dyn Bucket>,
    /// What the store was seen to honour when the workspace was made or attached.
    pub(crate) capabilities: Option<Capabilities>,
}

/// Opens a workspace by its name, with other keys where others are chosen.
pub(crate) fn open(context: &Context, name: &WorkspaceName, keys: &Settled) -> Result<Opened> {
    let config = context.workspace(name, keys)?;
    let bucket = connect(context, &config)?;
    Ok(Opened {
        name: name.clone(),
        capabilities: config.capabilities,
        config,
        bucket,
    })
}

impl Opened {
    /// Makes sure that the bucket still holds this workspace and no other. One request.
    pub(crate) async fn check_marker(&self) -> Result<Marker> {
        let reading = Marker::read(self.bucket.as_ref(), &self.config.prefix);
        let marker = in_time(&self.config, reading).await?;
        let place = place(&self.config);
        match marker {
            Some(marker) if marker.id == self.config.id => Ok(marker),
            Some(marker) => Err(Failure::new(
                Code::WorkspaceChanged,
                format!("{place} now holds workspace {}, not {}", marker.id, self.config.id),
            )
            .with_hint(format!(
                "to use the new one: artifacts workspace delete {0}, then artifacts workspace attach {0}",
                self.name
            ))),
            None => Err(Failure::new(
                Code::NotInBucket,
                format!("{place} no longer holds workspace {}", self.name),
            )
            .with_hint(format!(
                "was it removed elsewhere? Forget it here with: artifacts workspace delete {}",
                self.name
            ))),
        }
    }
}

/// The bucket that a workspace's file describes, with the keys of its profile. Fails where
/// there are no keys; asks nothing of the store.
pub(crate) fn connect(context: &Context, config: &WorkspaceConfig) -> Result<Arc<dyn Bucket>> {
    let chain = context.workspace_keys(config)?;
    let region = region(&chain, config)?;
    let mut settings = Config::new(config.bucket.as_str(), region, Arc::new(chain));
    settings.endpoint = config.endpoint.as_ref().map(|e| e.as_str().to_owned());
    Ok(Arc::new(S3Bucket::new(settings)?))
}

/// The region to sign for: `ARTIFACTS_S3_REGION`, the workspace's own, the rest of the key
/// chain, the default.
pub(crate) fn region(chain: &StorageKeys, config: &WorkspaceConfig) -> Result<String> {
    let found = chain.resolve()?.region;
    let ours = Source::Environment(Field::Region.variable());
    let wins = found.as_ref().is_some_and(|found| found.source == ours);
    if let Some(region) = config.region.as_ref().filter(|_| !wins) {
        return Ok(region.clone());
    }
    Ok(found.map_or_else(
        || DEFAULT_REGION.to_owned(),
        |found| found.value.expose().to_owned(),
    ))
}

/// Asks the store for the first page of the workspace's keys: whether it answers, whether
/// it takes the keys, whether the bucket is there.
pub(crate) async fn first_page(bucket: &dyn Bucket, config: &WorkspaceConfig) -> Result<ListPage> {
    let request = ListRequest {
        prefix: config.prefix.as_str().to_owned(),
        ..ListRequest::default()
    };
    let listing = async { Ok(bucket.list(&request).await?) };
    in_time(config, listing).await
}

/// The same with a key that may have been issued a moment ago: until it counts everywhere,
/// which takes AWS some seconds, a refusal means nothing.
pub(crate) async fn first_use(
    bucket: &dyn Bucket,
    config: &WorkspaceConfig,
    is_fresh: bool,
) -> Result<ListPage> {
    let end = Instant::now() + NEW_KEY;
    loop {
        match first_page(bucket, config).await {
            Err(failure)
                if is_fresh
                    && matches!(failure.code, Code::KeysRefused | Code::PermissionDenied)
                    && Instant::now() < end =>
            {
                sleep(NEW_KEY / 60).await;
            }
            answer => return answer,
        }
    }
}

/// Finds out what the store can do, with scratch objects among what a workspace hides.
pub(crate) async fn probe(bucket: &dyn Bucket, config: &WorkspaceConfig) -> Result<Capabilities> {
    let scratch = config.prefix.join(probe::SCRATCH);
    Ok(probe::probe(bucket, &scratch).await?)
}

/// Gives a first answer only so much time.
async fn in_time<T>(config: &WorkspaceConfig, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(FIRST_ANSWER, work).await {
        Ok(answer) => answer,
        Err(_) => Err(bucket::Error::Unreachable {
            endpoint: endpoint(config),
            reason: format!("no answer in {} s", FIRST_ANSWER.as_secs()),
        }
        .into()),
    }
}

/// The store's address as people read it.
pub(crate) fn endpoint(config: &WorkspaceConfig) -> String {
    let own = config.endpoint.as_ref().map(ToString::to_string);
    own.unwrap_or_else(|| "Amazon S3".to_owned())
}

/// Where a workspace is, as people read it.
pub(crate) fn place(config: &WorkspaceConfig) -> String {
    format!("s3://{}/{}", config.bucket, config.prefix)
}
