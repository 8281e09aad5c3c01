//! A worker from flags and variables: the same for a server and for Lambda.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::audit::AuditFile;
use base::mutual::{self, Identity};
use base::peer::TrustDomain;
use base::published::PublishedKeys;
use base::{Clock, SystemClock, clients};
use bucket::s3::{Config, Keys, StaticKeys, Transport};
use clap::Args;
use reqwest::{Certificate, Client};
use secrecy::SecretString;
use worker::adapters::{
    ActorBuckets, BrokerKeys, MutualSigner, Records, Sts, StsSettings, WebIdentities,
};
use worker::{App, Budget, Parts, Settings};

use crate::own_folder;
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
    /// How many proofs are remembered, each for a minute; one device has a sixteenth of it, one
    /// operator a quarter.
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

/// The shortest time that Amazon's STS takes.
const KEYS_FOR: u32 = 900;

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
    /// For how many seconds storage keys count that the STS gives for an actor. Whoever takes over
    /// the process has those of all actors who asked within this time.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "ARTIFACTS_WORKER_KEYS_FOR",
        default_value_t = KEYS_FOR,
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
    /// out is collected; its folder is gone with it, and with that what was seen of a registry.
    Short {
        /// Whether a registry's older document may count again in the next process.
        may_forget: bool,
    },
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
        self.may_forget(lifetime)?;
        own_folder::make(&self.data)?;
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

    /// A document says nothing of how long it counts: only who has seen a newer one refuses it.
    fn may_forget(&self, lifetime: Lifetime) -> Result {
        let forgets = lifetime == Lifetime::Short { may_forget: false };
        if forgets && self.registry.is_of_documents() {
            let text = "a function forgets which documents of the registry it has seen, so whoever serves them could put back one from before a revocation\nhint: name a registry on a chain (--registry-rpc), run the server (artifactsd worker serve), or say in operators.json which version is the least (min_version) and accept the rest: ARTIFACTS_WORKER_MAY_FORGET=true";
            return Err(text.into());
        }
        Ok(())
    }

    fn records(&self, lifetime: Lifetime) -> Result<Records> {
        let file = match (&self.audit, lifetime) {
            (Some(path), _) => path.clone(),
            (None, Lifetime::Long) => self.data.join("audit.jsonl"),
            (None, Lifetime::Short { .. }) => PathBuf::from("-"),
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
        if !clients::is_safe(&url) {
            let text = format!("{url} would give the broker's keys without TLS\nhint: https://");
            return Err(text.into());
        }
        let client = clients::to(&url);
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        worker: WorkerFlags,
    }

    fn flags(broker_keys: &str, registry: &[&str]) -> WorkerFlags {
        let flags = [
            "worker",
            "--data=/nowhere/data",
            "--broker=https://broker.example",
            "--broker-internal=https://broker.example:1",
            "--signer=https://signer.example",
            "--internal-certificate=/nowhere/a.pem",
            "--internal-key=/nowhere/a-key.pem",
            "--internal-ca=/nowhere/ca.pem",
            "--bucket=vault",
            "--role-arn=arn:aws:iam::000000000000:role/vault",
            "--broker-keys",
            broker_keys,
        ];
        Program::try_parse_from(flags.iter().chain(registry))
            .unwrap()
            .worker
    }

    const DOCUMENTS: &[&str] = &[
        "--registry-documents=https://documents.example/",
        "--registry-pins=/nowhere/operators.json",
    ];

    const CHAIN: &[&str] = &[
        "--registry-rpc=https://rpc.example",
        "--registry-chain-id=1",
        "--registry-devices=0x0000000000000000000000000000000000000001",
        "--registry-scopes=0x0000000000000000000000000000000000000002",
        "--registry-epochs=0x0000000000000000000000000000000000000003",
    ];

    #[test]
    fn storage_keys_count_for_a_quarter_of_an_hour() {
        let flags = flags("https://broker.example/jwks.json", DOCUMENTS);
        assert_eq!(flags.storage.keys_for, 900);
    }

    #[test]
    fn the_brokers_keys_come_over_tls_or_from_this_machine() {
        let refusal = |url: &str| {
            let keys = flags(url, DOCUMENTS).keys(None, Arc::new(SystemClock));
            keys.err().map(|error| error.to_string())
        };
        for good in ["https://a.example/keys", "http://127.0.0.1:8/jwks.json"] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for bad in [
            "http://127.0.0.1.evil.example/jwks.json",
            "http://localhost@evil.example/jwks.json",
            "http://localhost.evil.example",
        ] {
            let text = refusal(bad).unwrap_or_default();
            assert!(text.contains("without TLS"), "{bad}: {text}");
        }
    }

    #[test]
    fn a_function_takes_documents_only_if_told_that_it_may_forget_them() {
        let flags = |registry| flags("https://broker.example/jwks.json", registry);
        let may = |may_forget| Lifetime::Short { may_forget };
        let refused = flags(DOCUMENTS).may_forget(may(false)).unwrap_err();
        assert!(
            refused.to_string().contains("before a revocation"),
            "{refused}"
        );
        assert!(flags(DOCUMENTS).may_forget(may(true)).is_ok());
        assert!(flags(CHAIN).may_forget(may(false)).is_ok());
        assert!(flags(DOCUMENTS).may_forget(Lifetime::Long).is_ok());
    }
}
