//! The AWS SDK's clients for each of those who ask.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use secrecy::{ExposeSecret, SecretString};

use super::target::Target;

const PATIENCE: Duration = Duration::from_secs(30);

/// The keys of whoever may make buckets and roles. No `Debug`: they are secret.
pub struct AdminKeys {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
    /// Of temporary keys.
    pub session_token: Option<SecretString>,
}

/// Who may make buckets and roles.
pub struct Admin {
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) iam: aws_sdk_iam::Client,
}

impl Admin {
    /// With these keys, at this target.
    pub fn new(target: &Target, keys: &AdminKeys) -> Self {
        let token = keys.session_token.as_ref();
        let credentials = Credentials::new(
            &keys.access_key_id,
            keys.secret_access_key.expose_secret(),
            token.map(|token| token.expose_secret().to_owned()),
            None,
            "artifacts",
        );
        let mut iam = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(target.region.clone()))
            .credentials_provider(credentials.clone())
            .timeout_config(timeouts());
        if let Some(endpoint) = &target.endpoint {
            iam = iam.endpoint_url(endpoint.as_str());
        }
        if let Some(http) = http(target) {
            iam = iam.http_client(http);
        }
        Self {
            s3: s3(target, Some(credentials)),
            iam: aws_sdk_iam::Client::from_conf(iam.build()),
        }
    }
}

/// A client for the store's S3 with these keys, or with none. It never tries twice: what a
/// probe is told must be the answer to that probe.
pub(super) fn s3(target: &Target, keys: Option<Credentials>) -> aws_sdk_s3::Client {
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(target.region.clone()))
        .timeout_config(timeouts())
        .retry_config(RetryConfig::disabled())
        // Stores other than Amazon's refuse or ignore the newer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(target.endpoint.is_some());
    if let Some(endpoint) = &target.endpoint {
        config = config.endpoint_url(endpoint.as_str());
    }
    if let Some(http) = http(target) {
        config = config.http_client(http);
    }
    config = match keys {
        Some(keys) => config.credentials_provider(keys),
        None => config.allow_no_auth(),
    };
    aws_sdk_s3::Client::from_conf(config.build())
}

/// A client for the STS, which nobody signs for.
pub(super) fn sts(target: &Target) -> aws_sdk_sts::Client {
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(target.region.clone()))
        .timeout_config(timeouts())
        .retry_config(RetryConfig::disabled())
        .allow_no_auth();
    if let Some(endpoint) = target.sts() {
        config = config.endpoint_url(endpoint.as_str());
    }
    if let Some(http) = http(target) {
        config = config.http_client(http);
    }
    aws_sdk_sts::Client::from_conf(config.build())
}

/// What speaks to a store whose certificate comes from an authority of the operator's own; none
/// where the SDK's usual one does. The machine's authorities stay trusted: `vault.ca_file` may be
/// there for the vault's servers alone.
fn http(target: &Target) -> Option<SharedHttpClient> {
    let authorities = target.ca.as_ref()?;
    let trusted = TrustStore::default().with_pem_certificate(authorities.as_pem());
    // Building fails only for stores of certificates that this does not make.
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .ok()?;
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    Some(builder.tls_context(tls).build_https())
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(PATIENCE / 6)
        .operation_timeout(PATIENCE)
        .build()
}
