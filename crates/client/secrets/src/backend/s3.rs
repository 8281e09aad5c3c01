//! This machine seals and opens itself: the key comes from the signer, keys to the bucket from
//! the store's STS. For machines that are trusted with both.

use std::sync::Arc;

use api::vault::{ListedCredential, Reason, StoredCredential, TornDown};
use async_trait::async_trait;
use bucket::s3::{Config, S3Bucket};
use bucket::{
    Body, Bucket, Condition, Etag, GetOptions, Key, ListRequest, ObjectMeta, PutOptions, collect,
};
use credentials::{BucketName, Endpoint};
use model::{Actor, ServiceName};
use vault::legacy::{self, Owner, Wallet};
use vault::{Header, LONGEST_ENVELOPE, OldVersions, Place};

use crate::access::Access;
use crate::error::{Kind, Result, SecretError};
use crate::login::Login;
use crate::seen::{self, Seen};
use crate::signer::{OwnKek, Signer};
use crate::store::{ReadSecret, SecretStore};
use crate::sts::StsKeys;
use crate::value::SecretValue;

/// How often a write is tried anew when somebody else wrote in between.
const TRIES: usize = 4;
/// Names of undeleted objects that are told.
const TOLD: usize = 100;

/// Where the envelopes are.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: BucketName,
    /// Its store; none for AWS.
    pub endpoint: Option<Endpoint>,
    /// The store's STS; none for the store.
    pub sts_endpoint: Option<Endpoint>,
    /// The store's region.
    pub region: String,
    /// The role to assume.
    pub role_arn: String,
    /// Which older envelopes are opened.
    pub old: OldVersions,
    /// The wallet of older envelopes.
    pub wallet: Option<Wallet>,
}

/// The secrets as the bucket holds them.
pub struct S3Store {
    access: Arc<Access>,
    signer: Signer,
    bucket: Arc<dyn Bucket>,
    old: OldVersions,
    wallet: Option<Wallet>,
    seen: Seen,
}

/// An envelope as it lies in the bucket.
pub(crate) struct Found {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Etag,
    pub(crate) header: Header,
}

impl S3Store {
    /// Gets keys to the bucket.
    ///
    /// # Errors
    /// There is no login, or broker or STS refuse.
    pub async fn open(
        access: Access,
        signer: Signer,
        settings: &S3Settings,
        seen: Seen,
    ) -> Result<Self> {
        let access = Arc::new(access);
        let endpoint = settings.endpoint.as_ref();
        let sts = settings.sts_endpoint.as_ref().or(endpoint);
        let role = settings.role_arn.clone();
        let keys = StsKeys::new(access.clone(), sts, &settings.region, role);
        keys.begin().await?;
        let (bucket, region) = (settings.bucket.as_str(), settings.region.as_str());
        let mut config = Config::new(bucket, region, Arc::new(keys));
        config.endpoint = endpoint.map(ToString::to_string);
        let bucket = Arc::new(S3Bucket::new(config)?);
        Ok(Self::over(access, signer, bucket, settings, seen))
    }

    /// Over a bucket that is open already.
    pub fn over(
        access: Arc<Access>,
        signer: Signer,
        bucket: Arc<dyn Bucket>,
        settings: &S3Settings,
        seen: Seen,
    ) -> Self {
        Self {
            access,
            signer,
            bucket,
            old: settings.old,
            wallet: settings.wallet.clone(),
            seen,
        }
    }

    pub(crate) async fn login(&self) -> Result<Login> {
        self.access.login().await
    }

    pub(crate) async fn kek(&self, login: &Login, epoch: Option<u32>) -> Result<OwnKek> {
        let key = self.access.key()?;
        self.signer.own_kek(login, key, epoch).await
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The envelope of a place; `None` where there is none.
    pub(crate) async fn find(&self, place: &Place<'_>) -> Result<Option<Found>> {
        let object = match self.bucket.get(&key(place)?, GetOptions::default()).await {
            Ok(object) => object,
            Err(bucket::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if object.meta.size > LONGEST_ENVELOPE as u64 {
            return Err(vault::EnvelopeError::Malformed.into());
        }
        let etag = object.meta.etag.clone();
        let bytes = collect(object.body).await?;
        let header = vault::header(&bytes)?;
        seen::refuse_made_up(place.service, header.generation)?;
        Ok(Some(Found {
            bytes,
            etag,
            header,
        }))
    }

    /// Opens an envelope with whatever key its version and epoch need.
    pub(crate) async fn unseal(
        &self,
        login: &Login,
        place: &Place<'_>,
        found: &Found,
    ) -> Result<SecretValue> {
        self.old.check(found.header.version)?;
        if found.header.version == vault::envelope::VERSION {
            let kek = self.kek(login, Some(found.header.epoch)).await?.kek;
            let opened = vault::open(&kek, place, &found.bytes)?;
            return Ok(SecretValue::opened(&opened));
        }
        let wallet = self.wallet()?;
        let owner = match found.header.version {
            0x01 => Owner::Wallet(wallet),
            _ => Owner::Actor(place.actor),
        };
        let key = self.access.key()?;
        let kek = self.signer.legacy_kek(login, key, wallet, place.service);
        let plaintext = legacy::open(&kek.await?, owner, place.service, &found.bytes)?;
        Ok(SecretValue::opened(&plaintext))
    }

    fn wallet(&self) -> Result<&Wallet> {
        self.wallet.as_ref().ok_or_else(|| {
            SecretError::new(
                Kind::Usage,
                "an envelope of an older program needs the wallet that it was sealed for",
                "write vault.wallet = \"0x…\" into config.toml",
            )
        })
    }

    /// Writes an envelope under the condition that the bucket holds what it was made from.
    pub(crate) async fn put(
        &self,
        place: &Place<'_>,
        bytes: Vec<u8>,
        before: Option<&Etag>,
    ) -> Result<()> {
        let condition = match before {
            Some(etag) => Condition::Matches(etag.clone()),
            None => Condition::Absent,
        };
        let options = PutOptions {
            condition,
            ..PutOptions::default()
        };
        let body = Body::Bytes(bytes.into());
        self.bucket.put(&key(place)?, body, options).await?;
        Ok(())
    }

    /// Every object of an actor's credentials, page by page.
    pub(crate) async fn objects(&self, actor: &Actor) -> Result<Vec<ObjectMeta>> {
        let mut request = ListRequest {
            prefix: Place::prefix(actor),
            ..ListRequest::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.bucket.list(&request).await?;
            all.extend(page.objects);
            match page.next {
                None => return Ok(all),
                token => request.token = token,
            }
        }
    }

    async fn store_once(
        &self,
        login: &Login,
        place: &Place<'_>,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential> {
        let before = self.find(place).await?;
        let there = before.as_ref().map_or(0, |found| found.header.generation);
        let is_other = match expected {
            Some(0) => before.is_some(),
            Some(expected) => expected != there,
            None => false,
        };
        if is_other {
            let text = format!("{} is at generation {there} now", place.service);
            return Err(SecretError::because(Reason::GenerationMismatch, text));
        }
        // What was seen counts too: an older envelope that was put back is not continued.
        let seen = self.seen.of(place.actor, place.service)?;
        let generation = seen::following(place.service, there, seen)?;
        let OwnKek { kek, epoch, .. } = self.kek(login, None).await?;
        let bytes = vault::seal(&kek, place, epoch, generation, value.expose())?;
        let etag = before.as_ref().map(|found| &found.etag);
        self.put(place, bytes, etag).await?;
        self.seen.stored(place.actor, place.service, generation)?;
        Ok(StoredCredential {
            service: place.service.clone(),
            epoch,
            generation,
        })
    }
}

#[async_trait]
impl SecretStore for S3Store {
    async fn store(
        &self,
        service: &ServiceName,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential> {
        let login = self.login().await?;
        let place = place(&login, service);
        for _ in 1..TRIES {
            match self.store_once(&login, &place, value, expected).await {
                // Somebody wrote in between, and nobody said what must be there.
                Err(error)
                    if error.reason == Some(Reason::GenerationMismatch) && expected.is_none() => {}
                answer => return answer,
            }
        }
        self.store_once(&login, &place, value, expected).await
    }

    async fn read(&self, service: &ServiceName, accept_older: bool) -> Result<ReadSecret> {
        let login = self.login().await?;
        let place = place(&login, service);
        let found = self.find(&place).await?.ok_or_else(|| {
            let text = format!("there is no secret of the service {service}");
            SecretError::because(Reason::NotFound, text)
        })?;
        let generation = found.header.generation;
        let value = self.unseal(&login, &place, &found).await?;
        self.seen
            .take(&login.actor, service, generation, accept_older)?;
        Ok(ReadSecret {
            value,
            version: found.header.version,
            epoch: found.header.epoch,
            generation,
        })
    }

    async fn list(&self) -> Result<Vec<ListedCredential>> {
        let login = self.login().await?;
        let objects = self.objects(&login.actor).await?;
        let listed = objects.into_iter().filter_map(|object| {
            let micros = i64::try_from(object.last_modified / 1000).unwrap_or(0);
            Some(ListedCredential {
                service: Place::service_of(&login.actor, object.key.as_str())?,
                size: object.size,
                stored_at: api::Timestamp::from_micros(micros),
            })
        });
        Ok(listed.collect())
    }

    async fn teardown(&self, label: Option<&str>) -> Result<TornDown> {
        let login = self.login().await?;
        if label.is_some() || !login.is_operator() {
            return Err(SecretError::new(
                Kind::Usage,
                "the backend s3 deletes the operator's own secrets only",
                "add --credential-backend http, or sidecar",
            ));
        }
        let objects = self.objects(&login.actor).await?.into_iter();
        let keys: Vec<Key> = objects.map(|object| object.key).collect();
        let mut done = TornDown {
            deleted: 0,
            failed: 0,
            left: Vec::new(),
        };
        for part in keys.chunks(1000) {
            for outcome in self.bucket.delete_many(part).await? {
                if outcome.result.is_ok() {
                    done.deleted += 1;
                    continue;
                }
                done.failed += 1;
                if done.left.len() < TOLD {
                    done.left.push(outcome.key.to_string());
                }
            }
        }
        if done.failed == 0 {
            self.seen.forget(&login.actor)?;
        }
        Ok(done)
    }
}

/// Where a login's secret of a service lies.
pub(crate) fn place<'a>(login: &'a Login, service: &'a ServiceName) -> Place<'a> {
    Place {
        operator: &login.operator,
        actor: &login.actor,
        service,
    }
}

fn key(place: &Place<'_>) -> Result<Key> {
    Key::new(place.object_key())
        .map_err(|e| SecretError::new(Kind::Failed, e.to_string(), "report this as a defect"))
}
