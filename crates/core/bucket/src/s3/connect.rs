//! The SDK client: how it is built, and when it is replaced.

use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use parking_lot::RwLock;

use super::Config;
use super::keys::next_ask;
use crate::{Error, Result};

/// Connections that the buckets of several keys share, where they are at one store: a server that
/// acts for a thousand keys needs no thousand pools, nor a thousand readings of the machine's
/// certificates. Clones are the same connections.
#[derive(Clone)]
pub struct Transport(Arc<RwLock<Pool>>);

/// One client of the SDK's with its connections, and a mark to know it by.
#[derive(Clone)]
struct Pool {
    http: SharedHttpClient,
    mark: Arc<()>,
}

impl Transport {
    /// Connections as these settings say; keys and bucket do not matter.
    pub fn new(config: &Config) -> Self {
        Self(Arc::new(RwLock::new(Pool::new(config))))
    }

    /// For a client of another of the store's services: the same trust, and connections of the
    /// same kind.
    pub fn http(&self) -> SharedHttpClient {
        self.0.read().http.clone()
    }

    fn pool(&self) -> Pool {
        self.0.read().clone()
    }

    /// New connections for all, unless another bucket has made new ones since `failed`.
    fn replace(&self, failed: &Pool, config: &Config) -> Pool {
        let mut current = self.0.write();
        if Arc::ptr_eq(&current.mark, &failed.mark) {
            *current = Pool::new(config);
        }
        current.clone()
    }
}

impl Pool {
    fn new(config: &Config) -> Self {
        Self {
            http: http_client(config),
            mark: Arc::new(()),
        }
    }

    /// The shared one, where the settings name one.
    fn of(config: &Config) -> Self {
        match &config.transport {
            Some(shared) => shared.pool(),
            None => Self::new(config),
        }
    }
}

/// A client that is in use: replaced as a whole, never changed.
pub(super) struct Live {
    pub(super) client: Client,
    http: Pool,
    credentials: Credentials,
    /// When the keys end, where that is known.
    end: Option<SystemTime>,
    /// When to ask for the next ones.
    renew_at: Option<SystemTime>,
}

/// Holds the live client, replaces it when its keys have ended or its connections died.
pub(super) struct Connection {
    live: RwLock<Option<Arc<Live>>>,
    /// Held while keys are asked for, so that a hundred calls ask once.
    asking: tokio::sync::Mutex<()>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            live: RwLock::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// The client to use now. While one call asks for the next keys, the others go on with
    /// those that still count; and so does that one where none are to be had.
    pub(super) async fn live(&self, config: &Config) -> Result<Arc<Live>> {
        if let Some(live) = self.fresh() {
            return Ok(live);
        }
        let Some(lasting) = self.lasting() else {
            let _asking = self.asking.lock().await;
            return match self.fresh() {
                Some(live) => Ok(live),
                None => self.ask(config, None).await,
            };
        };
        let Ok(_asking) = self.asking.try_lock() else {
            return Ok(lasting);
        };
        if let Some(live) = self.fresh() {
            return Ok(live);
        }
        self.ask(config, None).await.or_else(|error| {
            tracing::debug!(%error, "no new keys yet");
            Ok(self.ask_later(config, &lasting))
        })
    }

    /// Takes new keys from the source, unless another call did so already. Says whether they
    /// are others than the refused ones, which would only be refused again.
    pub(super) async fn renew_keys(&self, config: &Config, refused: &Arc<Live>) -> Result<bool> {
        let _asking = self.asking.lock().await;
        let current = self.live.read().clone();
        if current.is_some_and(|live| live.credentials != refused.credentials) {
            return Ok(true);
        }
        let id = refused.credentials.access_key_id();
        let now = self.ask(config, Some(id)).await?;
        Ok(now.credentials != refused.credentials)
    }

    /// Opens new connections from now on, unless another call did so already. After a
    /// suspend every pooled connection is dead, and each retry would only find the next.
    pub(super) fn reconnect(&self, config: &Config, failed: &Arc<Live>) {
        let mut live = self.live.write();
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, failed)) {
            let http = match &config.transport {
                Some(shared) => shared.replace(&failed.http, config),
                None => Pool::new(config),
            };
            *live = Some(Arc::new(failed.over(config, http, failed.renew_at)));
        }
    }

    async fn ask(&self, config: &Config, refused: Option<&str>) -> Result<Arc<Live>> {
        let keys = config.keys.keys(refused).await?;
        let mut live = self.live.write();
        let http = live
            .as_ref()
            .map_or_else(|| Pool::of(config), |live| live.http.clone());
        let renew_at = keys.renew_at(SystemTime::now());
        let new = Live::new(config, http, keys.to_sdk(), keys.expires, renew_at);
        let new = Arc::new(new);
        *live = Some(new.clone());
        Ok(new)
    }

    /// Lets the source rest a little, and goes on with the keys that there are.
    fn ask_later(&self, config: &Config, lasting: &Arc<Live>) -> Arc<Live> {
        let next = lasting.end.map(|end| next_ask(end, SystemTime::now()));
        let mut live = self.live.write();
        let http = live
            .as_ref()
            .map_or_else(|| lasting.http.clone(), |live| live.http.clone());
        let again = Arc::new(lasting.over(config, http, next));
        *live = Some(again.clone());
        again
    }

    /// The client, where it is not yet time for the next keys.
    fn fresh(&self) -> Option<Arc<Live>> {
        self.until(|live| live.renew_at)
    }

    /// The client, where its keys still count.
    fn lasting(&self) -> Option<Arc<Live>> {
        self.until(|live| live.end)
    }

    fn until(&self, time: impl Fn(&Live) -> Option<SystemTime>) -> Option<Arc<Live>> {
        let live = self.live.read().clone()?;
        let is_over = time(&live).is_some_and(|time| time <= SystemTime::now());
        (!is_over).then_some(live)
    }
}

impl Live {
    fn new(
        config: &Config,
        http: Pool,
        credentials: Credentials,
        end: Option<SystemTime>,
        renew_at: Option<SystemTime>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .build();
        let mut sdk = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials.clone())
            .http_client(http.http.clone())
            .timeout_config(timeouts)
            // Retries and stalls are judged in `call`, which sees keys, bodies and time.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Stores other than Amazon's refuse or ignore the newer checksums, and TLS
            // already protects the way.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(config.path_style.unwrap_or(config.endpoint.is_some()));
        if let Some(endpoint) = &config.endpoint {
            sdk = sdk.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(sdk.build()),
            http,
            credentials,
            end,
            renew_at,
        }
    }

    /// The same keys over these connections.
    fn over(&self, config: &Config, http: Pool, renew_at: Option<SystemTime>) -> Self {
        Self::new(config, http, self.credentials.clone(), self.end, renew_at)
    }
}

/// Refuses settings that the SDK would only stumble over later, perhaps with a panic.
pub(super) fn check(config: &Config) -> Result<()> {
    let invalid = |reason: String| Err(Error::Invalid { reason });
    if config.bucket.is_empty() || config.bucket.contains('/') {
        return invalid(format!("{:?} is not a bucket name", config.bucket));
    }
    let scheme = |e: &String| e.starts_with("http://") || e.starts_with("https://");
    if config.endpoint.as_ref().is_some_and(|e| !scheme(e)) {
        return invalid("an endpoint begins with https:// or http://".into());
    }
    let pem = |pem: &Vec<u8>| pem.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----");
    if config.ca_pem.as_ref().is_some_and(|bytes| !pem(bytes)) {
        return invalid("the certificates to trust are not in PEM form".into());
    }
    Ok(())
}

fn http_client(config: &Config) -> SharedHttpClient {
    let builder = Builder::new().pool_max_idle_per_host(config.max_idle_connections);
    if config.is_plain_http() {
        // No certificates to load: this is what makes a local store ready at once.
        return builder.build_http();
    }
    let builder = builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    match tls_context(config) {
        Some(context) => builder.tls_context(context).build_https(),
        None => builder.build_https(),
    }
}

fn tls_context(config: &Config) -> Option<TlsContext> {
    let pem = config.ca_pem.as_ref()?;
    let store = TrustStore::empty().with_pem_certificate(pem.as_slice());
    // Building fails only for trust stores that this crate does not make.
    TlsContext::builder().with_trust_store(store).build().ok()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::super::{Keys, StaticKeys};
    use super::*;

    #[test]
    fn of_many_buckets_that_find_shared_connections_dead_one_opens_new_ones() {
        let keys = Keys {
            access_key_id: "k".into(),
            secret_access_key: SecretString::from("s"),
            session_token: None,
            expires: None,
        };
        let mut config = Config::new("b", "r", Arc::new(StaticKeys::new(keys)));
        config.endpoint = Some("http://127.0.0.1:1".into());
        let transport = Transport::new(&config);
        config.transport = Some(transport.clone());
        let dead = transport.pool();
        assert!(Arc::ptr_eq(&Pool::of(&config).mark, &dead.mark));
        let first = transport.replace(&dead, &config);
        let second = transport.replace(&dead, &config);
        assert!(!Arc::ptr_eq(&first.mark, &dead.mark));
        assert!(Arc::ptr_eq(&first.mark, &second.mark));
    }
}
