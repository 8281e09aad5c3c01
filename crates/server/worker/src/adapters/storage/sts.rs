//! The store's STS: storage keys for a web identity. The call is not signed: whoever has the
//! identity is who it says.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Region};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role_with_web_identity::{
    AssumeRoleWithWebIdentityError, AssumeRoleWithWebIdentityOutput,
};
use bucket::s3::{Keys, Transport};
use model::Actor;
use secrecy::{ExposeSecret, SecretString};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::ports::Away;
use crate::retry::Budget;

const WHO: &str = "the store's STS";

/// Where the STS is, and what it is asked for.
#[derive(Debug, Clone)]
pub struct StsSettings {
    /// Its address; `None` for Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The role whose policy opens the prefix of the tagged actor.
    pub role_arn: String,
    /// For how long keys count.
    pub lifetime: Duration,
}

/// The STS.
pub struct Sts {
    client: aws_sdk_sts::Client,
    role_arn: String,
    lifetime: i32,
    budget: Budget,
}

impl Sts {
    /// By connections that trust what the bucket's do.
    pub fn new(settings: &StsSettings, connections: &Transport, budget: Budget) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(8))
            .build();
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .http_client(connections.http())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let lifetime = settings.lifetime.as_secs();
        Self {
            client: aws_sdk_sts::Client::from_conf(config.build()),
            role_arn: settings.role_arn.clone(),
            lifetime: i32::try_from(lifetime).unwrap_or(i32::MAX),
            budget,
        }
    }

    /// Keys of the actor whom the identity is tagged with.
    pub(super) async fn assume(&self, actor: &Actor, token: &SecretString) -> Result<Keys, Away> {
        let answer = self.budget.ask(WHO, || self.ask(actor, token)).await?;
        let keys = answer.credentials;
        let keys = keys.ok_or_else(|| Away::for_good(WHO, "it answered without keys"))?;
        let end = u64::try_from(keys.expiration.secs()).ok();
        Ok(Keys {
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key.into(),
            session_token: Some(keys.session_token.into()),
            expires: end.map(|end| SystemTime::UNIX_EPOCH + Duration::from_secs(end)),
        })
    }

    /// The SDK's own log lines hold the identity, so they are not let out.
    async fn ask(
        &self,
        actor: &Actor,
        token: &SecretString,
    ) -> Result<AssumeRoleWithWebIdentityOutput, Away> {
        let call = self.client.assume_role_with_web_identity();
        let call = call
            .role_arn(&self.role_arn)
            .role_session_name(format!("artifacts-{}", &actor.as_str()[..32]))
            .web_identity_token(token.expose_secret())
            .duration_seconds(self.lifetime);
        let answer = call.send().with_subscriber(Dispatch::none()).await;
        answer.map_err(|error| failed(&error))
    }
}

fn failed(error: &SdkError<AssumeRoleWithWebIdentityError>) -> Away {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or("no code");
            let why = format!("it answers {status} {code}");
            if status >= 500
                || status == 429
                || matches!(code, "Throttling" | "IDPCommunicationError")
            {
                Away::for_now(WHO, why)
            } else {
                Away::for_good(WHO, why)
            }
        }
        SdkError::ConstructionFailure(_) => Away::for_good(WHO, "it cannot be asked as it is set"),
        SdkError::TimeoutError(_) => Away::for_now(WHO, "no answer in time"),
        _ => Away::for_now(WHO, "it cannot be reached, or its answer broke off"),
    }
}
