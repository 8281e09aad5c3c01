//! AWS KMS, as the signer asks it: for a new data key, and for a wrapped one to be opened.
//!
//! Each question is asked in three steps: AWS credentials are found (a role of the machine or
//! container, a profile, variables), the key's state is looked at, so that a refusal can say what
//! it is and how it ends, and then the question itself is asked. The SDK tries again what a lost
//! connection, a time-out or a server's error ended, with growing pauses, as long as patience lasts.
//!
//! Sources: KMS API Reference, "GenerateDataKey", "Decrypt", "DescribeKey", "Common errors".

mod refusal;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{
    BehaviorVersion, Credentials, ProvideCredentials, Region, SharedHttpClient,
};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeySpec, EncryptionAlgorithmSpec, KeyMetadata, KeyState, KeyUsageType,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base::clients;
use reqwest::Url;
use signer::seal::kms::{Context, DataKey, KeyArn, KeyService, KmsError};
use tokio::time::timeout;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use zeroize::Zeroizing;

use refusal::Asked;

const ONE_TRY: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// More than patience has room for.
const TRIES: u32 = 200;

/// AWS KMS, at Amazon's address of the key's region or at another.
pub(super) struct AwsKms {
    endpoint: Option<Url>,
    http: SharedHttpClient,
    /// The most time of one question, with all its tries.
    patience: Duration,
}

impl AwsKms {
    /// At this address instead of Amazon's. Plain HTTP is for this machine only: a key in clear
    /// comes back.
    pub(super) fn new(endpoint: Option<Url>, patience: Duration) -> Result<Self, String> {
        if let Some(url) = &endpoint
            && !clients::is_safe(url.as_str())
        {
            return Err(format!(
                "the KMS at {url} could be read and changed on the way\nhint: https://"
            ));
        }
        Ok(Self {
            endpoint,
            // No proxy of the environment's is between us and the KMS, or the machine's role.
            http: Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_https(),
            patience,
        })
    }

    /// For a key that, as far as can be seen, does what is asked of it.
    async fn ready(&self, key: &KeyArn) -> Result<Client, KmsError> {
        let client = self.client(key).await?;
        self.look_at(&client, key).await?;
        Ok(client)
    }

    async fn client(&self, key: &KeyArn) -> Result<Client, KmsError> {
        let credentials = self.credentials(key).await?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(ONE_TRY)
            .operation_attempt_timeout(ONE_TRY)
            .operation_timeout(self.patience)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(TRIES)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(LONGEST_PAUSE);
        let mut config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(key.region().to_owned()))
            .credentials_provider(credentials)
            .http_client(self.http.clone())
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        Ok(Client::from_conf(config.build()))
    }

    async fn credentials(&self, key: &KeyArn) -> Result<Credentials, KmsError> {
        let around = ProviderConfig::without_region().with_http_client(self.http.clone());
        let found = async {
            let chain = DefaultCredentialsChain::builder()
                .region(Region::new(key.region().to_owned()))
                .configure(around)
                .build()
                .await;
            chain.provide_credentials().await
        };
        // A helper program or a token service that says nothing has no limit of its own.
        let found = timeout(self.patience, found.with_subscriber(Dispatch::none())).await;
        let found = found.map_err(|_| KmsError::NoCredentials("nothing came in time".into()))?;
        found.map_err(|error| KmsError::NoCredentials(refusal::innermost(&error)))
    }

    /// The key's state decides nothing that the question itself would not: who may not look at it
    /// goes on.
    async fn look_at(&self, client: &Client, key: &KeyArn) -> Result<(), KmsError> {
        let call = client.describe_key().key_id(key.as_str());
        let answer = call.send().with_subscriber(Dispatch::none()).await;
        let asked = self.asked("kms:DescribeKey", key);
        match answer.map_err(|error| asked.failed(&error)) {
            Ok(answer) => match answer.key_metadata {
                Some(metadata) => fit(key, &metadata),
                None => Ok(()),
            },
            Err(KmsError::Denied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn asked<'a>(&'a self, action: &'static str, key: &'a KeyArn) -> Asked<'a> {
        Asked {
            action,
            key,
            endpoint: self.endpoint.as_ref(),
        }
    }
}

#[async_trait]
impl KeyService for AwsKms {
    async fn new_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
    ) -> Result<(DataKey, Vec<u8>), KmsError> {
        let client = self.ready(under).await?;
        let mut call = client
            .generate_data_key()
            .key_id(under.as_str())
            .key_spec(DataKeySpec::Aes256);
        for (name, value) in context {
            call = call.encryption_context(*name, value);
        }
        let answer = call.send().with_subscriber(Dispatch::none()).await;
        let asked = self.asked("kms:GenerateDataKey", under);
        let answer = answer.map_err(|error| asked.failed(&error))?;
        let wrapped = answer.ciphertext_blob;
        let wrapped = wrapped.ok_or(KmsError::Strange("there is no wrapped key in it"))?;
        Ok((
            data_key(answer.plaintext, answer.key_id)?,
            wrapped.into_inner(),
        ))
    }

    async fn open_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
        wrapped: &[u8],
    ) -> Result<DataKey, KmsError> {
        let client = self.ready(under).await?;
        let mut call = client
            .decrypt()
            .key_id(under.as_str())
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .ciphertext_blob(Blob::new(wrapped));
        for (name, value) in context {
            call = call.encryption_context(*name, value);
        }
        let answer = call.send().with_subscriber(Dispatch::none()).await;
        let asked = self.asked("kms:Decrypt", under);
        let answer = answer.map_err(|error| asked.failed(&error))?;
        data_key(answer.plaintext, answer.key_id)
    }
}

/// The SDK keeps nothing of it; what its buffers held on the way is in freed memory.
fn data_key(plaintext: Option<Blob>, under: Option<String>) -> Result<DataKey, KmsError> {
    let plaintext = plaintext.ok_or(KmsError::Strange("there is no key in it"))?;
    Ok(DataKey {
        plaintext: Zeroizing::new(plaintext.into_inner()),
        under: under.unwrap_or_default(),
    })
}

/// Whether the key does what is asked of it, as far as its description tells.
fn fit(key: &KeyArn, metadata: &KeyMetadata) -> Result<(), KmsError> {
    let usage = metadata.key_usage.as_ref();
    let spec = metadata.key_spec.as_ref();
    let wraps = usage.is_none_or(|usage| *usage == KeyUsageType::EncryptDecrypt);
    if !wraps || spec.is_some_and(|spec| spec.as_str() != "SYMMETRIC_DEFAULT") {
        let usage = usage.map_or("", KeyUsageType::as_str);
        let spec = spec.map_or("", |spec| spec.as_str());
        return Err(KmsError::Unfit {
            key: key.clone(),
            what: format!("{spec} for {usage}"),
        });
    }
    match &metadata.key_state {
        None | Some(KeyState::Enabled) => Ok(()),
        Some(KeyState::Disabled) => Err(KmsError::Disabled(key.clone())),
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            Err(KmsError::Deleting {
                key: key.clone(),
                when: metadata
                    .deletion_date
                    .as_ref()
                    .map_or_else(String::new, day),
            })
        }
        Some(other) => Err(KmsError::State {
            key: key.clone(),
            why: format!("its state is {}", other.as_str()),
        }),
    }
}

fn day(at: &aws_sdk_kms::primitives::DateTime) -> String {
    let at = api::Timestamp::from_micros(at.secs().saturating_mul(1_000_000));
    format!(" on {}", &at.to_string()[..10])
}
