//! Where a workspace is or shall be, as the command line says it.

use clap::Args;
use credentials::{
    Backend, BucketName, Endpoint, FieldValue, IdentityName, KeyProfile, Prefix, WorkspaceConfig,
};
use model::WorkspaceName;
use uuid::Uuid;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;
use crate::workspace::place;

/// Options that say where a workspace is.
#[derive(Args)]
pub(crate) struct Target {
    /// The bucket [default: ARTIFACTS_S3_BUCKET].
    #[arg(long, value_name = "BUCKET")]
    bucket: Option<BucketName>,
    /// The store's address, https://HOST or http://HOST:PORT [default:
    /// ARTIFACTS_S3_ENDPOINT, else Amazon S3].
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// Pin the workspace to this region; otherwise that of the keys counts.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// A folder in the bucket that shall be the workspace [default: ARTIFACTS_S3_PREFIX,
    /// else the whole bucket].
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<Prefix>,
    /// The set of storage keys to use; the workspace remembers it [default:
    /// ARTIFACTS_PROFILE, else the default one].
    #[arg(long, value_name = "PROFILE")]
    profile: Option<KeyProfile>,
    /// Use the session of this identity instead; see: artifacts auth.
    #[arg(long, value_name = "NAME", conflicts_with = "aws_profile")]
    identity: Option<IdentityName>,
    /// Use the keys of this profile of the AWS tools instead. Their files are only read.
    #[arg(long, value_name = "PROFILE")]
    aws_profile: Option<String>,
}

impl Target {
    /// Whether a bucket is given, here or in the environment.
    pub(crate) fn names_a_bucket(&self) -> bool {
        self.bucket.is_some() || variables::text(variables::BUCKET).is_some()
    }

    /// Whether anything of a place or of keys is given on the command line.
    pub(crate) fn names_a_place(&self) -> bool {
        self.bucket.is_some()
            || self.endpoint.is_some()
            || self.region.is_some()
            || self.prefix.is_some()
            || self.profile.is_some()
            || self.identity.is_some()
            || self.aws_profile.is_some()
    }

    /// The file of the workspace that is meant, under an id, before anything is known of
    /// the store.
    pub(crate) fn into_config(self, id: Uuid, context: &Context) -> Result<WorkspaceConfig> {
        let bucket = match self.bucket {
            Some(bucket) => bucket,
            None => parsed(variables::BUCKET)?.ok_or_else(no_bucket)?,
        };
        let endpoint = match self.endpoint {
            Some(endpoint) => Some(endpoint),
            None => parsed(variables::ENDPOINT)?,
        };
        let prefix = match self.prefix {
            Some(prefix) => prefix,
            None => parsed(variables::PREFIX)?.unwrap_or_default(),
        };
        if let Some(region) = &self.region {
            FieldValue::new(region, "--region")?;
        }
        Ok(WorkspaceConfig {
            id,
            backend: Backend::S3,
            bucket,
            endpoint,
            region: self.region,
            prefix,
            profile: context.profile(self.profile.as_ref())?,
            identity: self.identity,
            aws_profile: self.aws_profile,
            capabilities: None,
            orchestrator: None,
            mount: toml::Table::new(),
            unknown: toml::Table::new(),
        })
    }
}

/// Refuses a name that is taken, and a place that overlaps that of another workspace of
/// this machine.
pub(crate) fn check_free(
    context: &Context,
    name: &WorkspaceName,
    new: &WorkspaceConfig,
) -> Result<()> {
    if context.workspaces()?.contains(name)? {
        return Err(credentials::Error::WorkspaceExists { name: name.clone() }.into());
    }
    check_beside(context, name, new)
}

/// Refuses a place that overlaps that of a workspace of this machine with another name.
pub(crate) fn check_beside(
    context: &Context,
    name: &WorkspaceName,
    new: &WorkspaceConfig,
) -> Result<()> {
    let workspaces = context.workspaces()?;
    for other in workspaces
        .names()?
        .into_iter()
        .filter(|other| other != name)
    {
        // A file that cannot be read says nothing about a place.
        let Ok(known) = workspaces.load(&other) else {
            continue;
        };
        let same_bucket = known.bucket == new.bucket && known.endpoint == new.endpoint;
        if same_bucket && known.prefix.overlaps(&new.prefix) {
            return Err(overlap(&other, &known, new));
        }
    }
    Ok(())
}

fn overlap(other: &WorkspaceName, known: &WorkspaceConfig, new: &WorkspaceConfig) -> Failure {
    let (theirs, ours) = (place(known), place(new));
    if known.prefix == new.prefix {
        let text = format!("{ours} is workspace {other} on this machine already");
        let hint = format!("use that one; see: artifacts workspace show {other}");
        return Failure::new(Code::WorkspaceExists, text).with_hint(hint);
    }
    let text = format!("{ours} overlaps with workspace {other} at {theirs}");
    nested(text)
}

/// One workspace would lie inside another.
pub(crate) fn nested(text: String) -> Failure {
    Failure::new(Code::WorkspaceNested, text)
        .with_hint("choose a --prefix beside it: a workspace inside another would be seen by both")
}

fn parsed<T>(variable: &str) -> Result<Option<T>>
where
    T: std::str::FromStr<Err = credentials::Error>,
{
    let Some(text) = variables::text(variable) else {
        return Ok(None);
    };
    let parsed: std::result::Result<T, _> = text.parse();
    parsed.map(Some).map_err(|e| {
        let failure = Failure::from(e);
        let message = format!("{variable}: {}", failure.message);
        Failure { message, ..failure }
    })
}

fn no_bucket() -> Failure {
    Failure::new(Code::Usage, "no bucket is given")
        .with_hint("add --bucket BUCKET, or set ARTIFACTS_S3_BUCKET")
}
