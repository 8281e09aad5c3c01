//! The vault's bucket and role at the embedded store, made over the same interfaces as at any
//! other: a token of the broker opens its actor's own prefix and nothing else. They are what
//! `artifacts vault provision` would make, from the same documents.

use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use embedded::{AccessKey, REGION, Server};
use secrecy::ExposeSecret;
use vault::isolation::{
    AUDIENCE, Isolation, Issuer, POLICY, RoleArn, bucket_policy, role_policy, trust_policy,
};

use super::BUCKET;

/// The role that the broker's tokens assume.
pub(super) const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/artifacts-vault";

/// Makes what is missing; what is there is brought up to date, since the broker may have moved.
/// The bucket refuses before the role may anything.
pub(super) async fn prepare(server: &Server, broker: &str) -> Result<(), String> {
    let issuer: Issuer = broker.parse().map_err(|e| format!("{e}"))?;
    let role: RoleArn = ROLE_ARN.parse().map_err(|e| format!("{e}"))?;
    let isolation = Isolation {
        bucket: BUCKET,
        role: &role,
        issuer: &issuer,
        in_clear: server.endpoint().starts_with("http://"),
    };
    guarded_bucket(server, &isolation).await?;
    bound_role(server, &isolation).await
}

async fn bound_role(server: &Server, isolation: &Isolation<'_>) -> Result<(), String> {
    let iam = iam(&server.endpoint(), server.root());
    let role = isolation.role;
    let asked = iam
        .create_open_id_connect_provider()
        .url(isolation.issuer.as_str())
        .client_id_list(AUDIENCE);
    there(asked.send().await, "the identity provider")?;
    let trust = trust_policy(isolation).to_string();
    let asked = iam.create_role().role_name(role.name()).path(role.path());
    let asked = asked.assume_role_policy_document(&trust);
    there(asked.send().await, "the role")?;
    let asked = iam.update_assume_role_policy().role_name(role.name());
    let done = asked.policy_document(&trust).send().await;
    done.map_err(|e| failed("the role's trust", &e))?;
    let asked = iam.put_role_policy().role_name(role.name());
    let asked = asked.policy_name(POLICY);
    let asked = asked.policy_document(role_policy(isolation).to_string());
    let done = asked.send().await;
    done.map_err(|e| failed("the role's policy", &e))?;
    Ok(())
}

async fn guarded_bucket(server: &Server, isolation: &Isolation<'_>) -> Result<(), String> {
    let s3 = s3(server);
    let made = s3.create_bucket().bucket(BUCKET).send().await;
    let made = made.map(drop).map_err(|error| {
        let code = error.code().unwrap_or_default().to_owned();
        (code, failed("the bucket", &error))
    });
    match made {
        Err((code, _)) if code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" => {}
        Err((_, reason)) => return Err(reason),
        Ok(()) => {}
    }
    let asked = s3.put_bucket_policy().bucket(BUCKET);
    let done = asked
        .policy(bucket_policy(isolation).to_string())
        .send()
        .await;
    done.map_err(|e| failed("the bucket's policy", &e))?;
    Ok(())
}

fn s3(server: &Server) -> aws_sdk_s3::Client {
    let key = server.root();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new(REGION))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            &key.id,
            key.secret.expose_secret(),
            None,
            None,
            "artifactsd dev",
        ))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn iam(endpoint: &str, key: &AccessKey) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(aws_sdk_iam::config::BehaviorVersion::latest())
        .region(aws_sdk_iam::config::Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(aws_sdk_iam::config::Credentials::new(
            &key.id,
            key.secret.expose_secret(),
            None,
            None,
            "artifactsd dev",
        ))
        .build();
    aws_sdk_iam::Client::from_conf(config)
}

/// Made now, or there already.
fn there<T, E: ProvideErrorMetadata>(
    asked: Result<T, SdkError<E>>,
    what: &str,
) -> Result<(), String>
where
    SdkError<E>: ProvideErrorMetadata,
{
    match asked {
        Ok(_) => Ok(()),
        Err(error) if ProvideErrorMetadata::code(&error) == Some("EntityAlreadyExists") => Ok(()),
        Err(error) => Err(failed(what, &error)),
    }
}

fn failed(what: &str, error: &impl ProvideErrorMetadata) -> String {
    let (code, message) = (
        error.code().unwrap_or("no answer"),
        error.message().unwrap_or_default(),
    );
    format!("{what} of the vault was not made at the store: {code}: {message}")
}
