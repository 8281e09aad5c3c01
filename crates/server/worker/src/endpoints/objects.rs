//! The bucket as the endpoints use it: as the one actor whose credentials it is about, and with
//! words for what goes wrong.

use std::future::Future;
use std::sync::Arc;

use api::vault::Reason;
use bucket::{Bucket, Error, GetOptions, Key};
use model::Actor;
use vault::{Kek, LONGEST_ENVELOPE};

use crate::app::App;
use crate::ports::Away;
use crate::refused::{Refused, Result};

/// What is in the way of an object.
pub(super) enum Trouble {
    /// What the store says.
    Store(Error),
    /// What stands before the store.
    Refused(Refused),
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(refused) => refused,
            Trouble::Store(Error::NotFound { .. }) => Reason::NotFound.into(),
            Trouble::Store(error) => {
                let away = Away::for_now("the bucket", error.to_string());
                Self::away(Reason::BucketUnavailable, &away)
            }
        }
    }
}

/// The bucket of one actor, for as long as a request takes.
pub(super) struct Objects<'a> {
    app: &'a App,
    owner: &'a Actor,
    cap: &'a str,
}

/// An object that was read.
pub(super) struct Read {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: bucket::Etag,
}

impl<'a> Objects<'a> {
    pub(super) fn of(app: &'a App, owner: &'a Actor, cap: &'a str) -> Self {
        Self { app, owner, cap }
    }

    /// Asks the bucket; once more with new keys where the store does not take the ones we have.
    pub(super) async fn ask<T, F>(&self, ask: impl Fn(Arc<dyn Bucket>) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = bucket::Result<T>>,
    {
        let bucket = self.bucket().await?;
        match ask(Arc::clone(&bucket)).await {
            Err(Error::BadCredentials { .. }) => {
                self.app.buckets.forget(self.owner, &bucket);
                let bucket = self.bucket().await?;
                ask(bucket).await.map_err(Trouble::Store)
            }
            answer => answer.map_err(Trouble::Store),
        }
    }

    /// Reads an object whole. One that is longer than any envelope is cut off right behind that,
    /// so that it is seen to be too long and fills nothing.
    pub(super) async fn read(&self, key: &Key) -> Result<Read, Trouble> {
        let most = LONGEST_ENVELOPE as u64 + 1;
        let read = self.ask(|bucket| async move {
            let object = bucket.get(key, GetOptions::default()).await?;
            let etag = object.meta.etag.clone();
            let mut bytes = Vec::with_capacity(object.meta.size.min(most) as usize);
            take(object.body, &mut bytes, most as usize).await?;
            Ok(Read { bytes, etag })
        });
        read.await
    }

    async fn bucket(&self) -> Result<Arc<dyn Bucket>> {
        let bucket = self.app.buckets.of(self.owner, self.cap).await;
        bucket.map_err(|away| Refused::away(Reason::BucketUnavailable, &away))
    }
}

async fn take(
    mut body: bucket::ByteStream,
    bytes: &mut Vec<u8>,
    most: usize,
) -> bucket::Result<()> {
    use futures::StreamExt;
    while let Some(part) = body.next().await {
        let part = part?;
        let room = most - bytes.len();
        bytes.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() >= room {
            break;
        }
    }
    Ok(())
}

/// The object's name in the bucket.
pub(super) fn key(name: String) -> Result<Key> {
    Key::new(name).map_err(|error| {
        tracing::error!(%error, "a credential has no key");
        Reason::Internal.into()
    })
}

/// The key that seals the owner's credentials in an epoch.
pub(super) async fn kek(app: &App, operator: &Actor, owner: &Actor, epoch: u32) -> Result<Kek> {
    let kek = app.signer.derive(operator, owner, epoch).await;
    kek.map_err(|away| Refused::away(Reason::SignerUnavailable, &away))
}

/// What comes after the checks and before any change: an audit that cannot be written stops it.
pub(super) async fn audited(app: &App) -> Result<()> {
    let ready = app.audit.ready().await;
    ready.map_err(|away| Refused::away(Reason::AuditUnavailable, &away))
}
