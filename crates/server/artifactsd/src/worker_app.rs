//! A worker from flags and variables: the same for a server and for Lambda.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::audit::AuditFile;
use base::mutual::{self, Identity};
use base::peer::TrustDomain;
use base::published::PublishedKeys;
use base::{Clock, SystemClock};
use bucket::s3::{Config, Keys, StaticKeys, Transport};
use clap::Args;
use reqwest::{Certificate, Client, redirect};
use secrecy::SecretString;
use worker::adapters::{
    ActorBuckets, BrokerKeys, MutualSigner, Records, Sts, StsSettings, WebIdentities,
};
use worker::{App, Budget, Parts, Settings};

use crate::registry_flags::RegistryFlags;

/// Who is asked, and what for.
#[derive(Args)]
pub(crate) struct WorkerFlags {
    /// The folder of what the registry's reader has seen, and of the audit; made when missing
    /// (mode 0700).
    #[arg(long, value_name = "DIR", env = "ARTIFACTS_WORKER_DATA")]
    data: PathBuf,
    /// Where the audit goes: a file of this worker's alone, or `-` for lines on standard output,
    /// for whoever collects them. Without it, audit.jsonl in the folder of --data.
    #[arg(long, value_name = "FILE|-", env = "ARTIFACTS_WORKER_AUDIT")]
    audit: Option<PathBuf>,
    /// The broker, as its capabilities name it.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_BROKER")]
    broker: String,
    /// Where the broker publishes its keys, if not at /jwks.json below --broker.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_BROKER_KEYS")]
    broker_keys: Option<String>,
    /// The broker's listener for workers.
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        env = "ARTIFACTS_WORKER_BROKER_INTERNAL"
    )]
    broker_internal: String,
    /// The signer's listener for workers.
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        env = "ARTIFACTS_WORKER_SIGNER"
    )]
    signer: String,
    #[command(flatten)]
    internal: Internal,
    #[command(flatten)]
    registry: RegistryFlags,
    #[command(flatten)]
    storage: Storage,
    /// How many proofs are remembered, each for a minute; one device has a sixteenth of it.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "ARTIFACTS_WORKER_PROOFS",
        default_value_t = 1 << 19
    )]
    proofs: usize,
    /// How many requests are carried out at once; others wait.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "ARTIFACTS_WORKER_AT_ONCE",
        default_value_t = 64
    )]
    at_once: usize,
}

/// Who this worker is to signer and broker: mTLS.
#[derive(Args)]
struct Internal {
    /// The certificate chain to show them (PEM), with the role `worker` in its name.
    #[arg(
        long,
        value_name = "FILE",
        env = "ARTIFACTS_WORKER_INTERNAL_CERTIFICATE"
    )]
    internal_certificate: PathBuf,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_WORKER_INTERNAL_KEY")]
    internal_key: PathBuf,
    /// The authority whose certificates they show (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_WORKER_INTERNAL_CA")]
    internal_ca: PathBuf,
    /// What the names in certificates begin with: spiffe://THIS/signer.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_TRUST_DOMAIN",
        default_value = "artifacts"
    )]
    trust_domain: TrustDomain,
}

/// Where the credentials are. The worker has no keys of its own there.
#[derive(Args)]
struct Storage {
    /// The bucket of the vault.
    #[arg(long, value_name = "NAME", env = "ARTIFACTS_WORKER_BUCKET")]
    bucket: String,
    /// The store's address; without it, Amazon S3.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_ENDPOINT")]
    endpoint: Option<String>,
    /// The store's region.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_WORKER_REGION",
        default_value = "us-east-1"
    )]
    region: String,
    /// The address of the store's STS, if not --endpoint or Amazon's.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_STS_ENDPOINT")]
    sts_endpoint: Option<String>,
    /// The role whose policy opens each actor's own prefix.
    #[arg(long, value_name = "ARN", env = "ARTIFACTS_WORKER_ROLE_ARN")]
    role_arn: String,
    /// For how many seconds storage keys count that the STS gives for an actor.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "ARTIFACTS_WORKER_KEYS_FOR",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u32).range(900..=43_200)
    )]
    keys_for: u32,
    /// Certificates (PEM) to trust at the store, its STS and the broker instead of the machine's.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_WORKER_CA_FILE")]
    ca_file: Option<PathBuf>,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each of the two programs is of one kind")]
pub(crate) enum Lifetime {
    /// A server. Its audit is a file unless it is named; it forgets which proofs were used in its
    /// last life, and takes none from then.
    Long,
    /// Of Lambda's: a few requests, of which the first was sent before it began. What it writes
    /// out is collected; its folder is gone with it.
    Short,
}

/// A worker that is ready to answer, and its audit.
pub(crate) struct Opened {
    pub(crate) app: Arc<App>,
    pub(crate) records: Arc<Records>,
}

impl WorkerFlags {
    /// Opens all that it is made of, as `lifetime` wants it.
    pub(crate) async fn open(&self, public_url: &str, lifetime: Lifetime) -> Result<Opened> {
        let clock = Arc::new(SystemClock);
        self.make_folder()?;
        let records = Arc::new(self.records(lifetime)?);
        let mut settings = Settings::new(public_url.trim_end_matches('/'), self.issuer());
        let begun = clock.now().seconds();
        settings.oldest_proof = (lifetime == Lifetime::Long).then_some(begun);
        settings.proofs = self.proofs;
        settings.at_once = self.at_once;
        let ca = self.storage.ca()?;
        let budget = Budget::default();
        let app = App::new(Parts {
            settings,
            registry: self.registry.open(&self.data).await?,
            signer: Arc::new(MutualSigner::new(
                self.client("signer")?,
                &self.signer,
                budget,
            )),
            buckets: Arc::new(self.buckets(ca.clone(), budget)?),
            cap_keys: Arc::new(self.keys(ca.as_deref(), clock.clone())?),
            audit: records.clone(),
            clock,
        })?;
        Ok(Opened { app, records })
    }

    fn make_folder(&self) -> Result {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.data);
        made.map_err(|error| {
            let folder = self.data.display();
            format!("the folder {folder} cannot be made: {error}\nhint: choose another with --data")
                .into()
        })
    }

    fn records(&self, lifetime: Lifetime) -> Result<Records> {
        let file = match (&self.audit, lifetime) {
            (Some(path), _) => path.clone(),
            (None, Lifetime::Long) => self.data.join("audit.jsonl"),
            (None, Lifetime::Short) => PathBuf::from("-"),
        };
        if file.as_os_str() == "-" {
            return Ok(Records::to_output());
        }
        Ok(Records::in_file(AuditFile::open(&file)?))
    }

    fn issuer(&self) -> &str {
        self.broker.trim_end_matches('/')
    }

    /// A client that shows who we are, to servers of a role.
    fn client(&self, role: &str) -> Result<Client> {
        let Internal {
            internal_certificate,
            internal_key,
            internal_ca,
            trust_domain,
        } = &self.internal;
        let identity = Identity {
            ca: internal_ca.clone(),
            certificate: internal_certificate.clone(),
            key: internal_key.clone(),
            trust_domain: trust_domain.clone(),
        };
        let client = mutual::client(&identity, role)?;
        // Idle connections stay: a handshake costs more than all else of a request.
        Ok(client.pool_idle_timeout(Duration::from_secs(300)).build()?)
    }

    fn buckets(&self, ca: Option<Vec<u8>>, budget: Budget) -> Result<ActorBuckets> {
        let storage = &self.storage;
        let mut config = Config::new(&storage.bucket, &storage.region, Arc::new(no_keys()));
        config.endpoint.clone_from(&storage.endpoint);
        config.ca_pem = ca;
        config.operation_timeout = Duration::from_secs(12);
        config.read_timeout = Duration::from_secs(6);
        // What is wrong with these settings is better known before the first request.
        bucket::s3::S3Bucket::new(config.clone())?;
        let connections = Transport::new(&config);
        config.transport = Some(connections.clone());
        let endpoint = storage.sts_endpoint.clone().or(storage.endpoint.clone());
        let settings = StsSettings {
            endpoint,
            region: storage.region.clone(),
            role_arn: storage.role_arn.clone(),
            lifetime: Duration::from_secs(storage.keys_for.into()),
        };
        let sts = Sts::new(&settings, &connections, budget);
        let broker = self.client("broker")?;
        let identities = WebIdentities::new(broker, &self.broker_internal, budget);
        Ok(ActorBuckets::new(identities, sts, config))
    }

    fn keys(&self, ca: Option<&[u8]>, clock: Arc<dyn Clock>) -> Result<BrokerKeys> {
        let issuer = self.issuer();
        let url = self.broker_keys.clone();
        let url = url.unwrap_or_else(|| format!("{issuer}/jwks.json"));
        let here = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
        if !url.starts_with("https://") && !here.iter().any(|here| url.starts_with(here)) {
            let text = format!("{url} would give the broker's keys without TLS\nhint: https://");
            return Err(text.into());
        }
        let client = Client::builder().redirect(redirect::Policy::none());
        let client = match ca {
            Some(pem) => client.tls_certs_only(Certificate::from_pem_bundle(pem)?),
            None => client,
        };
        Ok(BrokerKeys::new(PublishedKeys::new(
            client.build()?,
            url,
            clock,
        )))
    }
}

impl Storage {
    fn ca(&self) -> Result<Option<Vec<u8>>> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                let path = path.display();
                format!("{path} cannot be read: {error}\nhint: --ca-file names certificates (PEM)")
            })
        };
        Ok(self.ca_file.as_deref().map(read).transpose()?)
    }
}

/// What stands where a bucket's keys would: each actor's come from the STS.
fn no_keys() -> StaticKeys {
    StaticKeys::new(Keys {
        access_key_id: String::new(),
        secret_access_key: SecretString::from(""),
        session_token: None,
        expires: None,
    })
}
