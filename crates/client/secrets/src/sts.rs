//! From a login to keys of the bucket, for one actor: the broker's web identity, exchanged at
//! the store's STS.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Region};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use bucket::s3::{KeySource, Keys};
use credentials::Endpoint;

use crate::access::Access;
use crate::error::{Kind, Result, SecretError};

/// Where an answer must have come by.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives the bucket's adapter its keys, and new ones before they end.
pub(crate) struct StsKeys {
    access: std::sync::Arc<Access>,
    client: Client,
    role: String,
    endpoint: String,
    /// What was fetched before the adapter asked.
    first: Mutex<Option<Keys>>,
}

impl StsKeys {
    pub(crate) fn new(
        access: std::sync::Arc<Access>,
        endpoint: Option<&Endpoint>,
        region: &str,
        role: String,
    ) -> Self {
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(PATIENCE / 4)
                    .operation_timeout(PATIENCE)
                    .build(),
            )
            .allow_no_auth();
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        Self {
            access,
            client: Client::from_conf(config.build()),
            role,
            endpoint: endpoint.map_or_else(|| "AWS STS".into(), ToString::to_string),
            first: Mutex::new(None),
        }
    }

    /// Fetches the first keys, so that a refusal is told in its own words.
    pub(crate) async fn begin(&self) -> Result<()> {
        let keys = self.fetch().await?;
        *self.first.lock().unwrap_or_else(|e| e.into_inner()) = Some(keys);
        Ok(())
    }

    async fn fetch(&self) -> Result<Keys> {
        let login = self.access.login().await?;
        let key = self.access.key()?;
        let identity = self.access.broker().web_identity(&login, key).await?;
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(&self.role)
            // What the store's logs show: whose keys they are.
            .role_session_name(format!("artifacts-{}", &login.actor.as_str()[..32]))
            .web_identity_token(identity.token.expose())
            .send()
            .await
            .map_err(|e| self.refused(&e))?;
        let found = answer
            .credentials()
            .ok_or_else(|| SecretError::strange(&self.endpoint, "its answer has no credentials"))?;
        let end = u64::try_from(found.expiration().secs()).ok();
        Ok(Keys {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().into(),
            session_token: Some(found.session_token().into()),
            expires: end.map(|end| SystemTime::UNIX_EPOCH + Duration::from_secs(end)),
        })
    }

    fn refused<E>(&self, error: &SdkError<E>) -> SecretError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let Some(service) = error.as_service_error() else {
            // The causes' words; never the request, which holds the token.
            let causes =
                std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
            let mut words: Vec<String> = causes.map(ToString::to_string).collect();
            words.dedup();
            return SecretError::unreachable(&self.endpoint, &words.join(": "));
        };
        let code = service.code().unwrap_or("no code");
        let text = service.message().unwrap_or_default();
        let message = format!(
            "{} does not give keys for the role: {code}: {text}",
            self.endpoint
        );
        SecretError::new(
            Kind::Denied,
            message.trim_end_matches([':', ' ']),
            "look at the role's trust policy: artifacts vault provision --verify",
        )
    }
}

#[async_trait]
impl KeySource for StsKeys {
    async fn keys(&self, refused: Option<&str>) -> bucket::Result<Keys> {
        let first = self.first.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(keys) = first.filter(|keys| refused != Some(&keys.access_key_id)) {
            return Ok(keys);
        }
        self.fetch().await.map_err(|error| match error.kind {
            Kind::Temporary => bucket::Error::Unreachable {
                endpoint: self.endpoint.clone(),
                reason: error.message,
            },
            Kind::Login => bucket::Error::BadCredentials {
                reason: error.message,
                expired: true,
            },
            _ => bucket::Error::BadCredentials {
                reason: error.message,
                expired: false,
            },
        })
    }
}
