//! The vault's bucket and role at the embedded store, made over the same interfaces as at any
//! other: a token of the broker opens its actor's own prefix and nothing else.

use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use embedded::{AccessKey, REGION, Server};
use secrecy::ExposeSecret;
use serde_json::json;

use super::BUCKET;

/// The role that the broker's tokens assume.
pub(super) const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/artifacts-vault";

const ROLE: &str = "artifacts-vault";
const POLICY: &str = "artifacts-vault-own-prefix";
const AUDIENCE: &str = "sts.amazonaws.com";

/// Makes what is missing; what is there is brought up to date, since the broker may have moved.
pub(super) async fn prepare(server: &Server, broker: &str) -> Result<(), String> {
    make_bucket(server).await?;
    let iam = iam(&server.endpoint(), server.root());
    let asked = iam
        .create_open_id_connect_provider()
        .url(broker)
        .client_id_list(AUDIENCE);
    there(asked.send().await, "the identity provider")?;
    let trust = trust_policy(broker).to_string();
    let asked = iam
        .create_role()
        .role_name(ROLE)
        .assume_role_policy_document(&trust);
    there(asked.send().await, "the role")?;
    let asked = iam
        .update_assume_role_policy()
        .role_name(ROLE)
        .policy_document(&trust);
    asked
        .send()
        .await
        .map_err(|e| failed("the role's trust", &e))?;
    let asked = iam.put_role_policy().role_name(ROLE).policy_name(POLICY);
    let asked = asked.policy_document(role_policy().to_string());
    asked
        .send()
        .await
        .map_err(|e| failed("the role's policy", &e))?;
    Ok(())
}

fn trust_policy(broker: &str) -> serde_json::Value {
    let issuer = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "Federated": format!("arn:aws:iam::000000000000:oidc-provider/{issuer}") },
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": {
            "StringEquals": { format!("{issuer}:aud"): AUDIENCE },
            "StringLike": { "aws:RequestTag/artifacts_actor": "?".repeat(64) },
        },
    }] })
}

fn role_policy() -> serde_json::Value {
    let own = "bots/${aws:PrincipalTag/artifacts_actor}/credentials/*";
    let object = |action: &str| {
        json!({
            "Effect": "Allow", "Action": [action], "Resource": [format!("arn:aws:s3:::{BUCKET}/{own}")],
        })
    };
    json!({ "Version": "2012-10-17", "Statement": [
        {
            "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [format!("arn:aws:s3:::{BUCKET}")],
            "Condition": { "StringLike": { "s3:prefix": [own] } },
        },
        object("s3:GetObject"), object("s3:PutObject"), object("s3:DeleteObject"),
    ] })
}

async fn make_bucket(server: &Server) -> Result<(), String> {
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
    let made = aws_sdk_s3::Client::from_conf(config)
        .create_bucket()
        .bucket(BUCKET);
    let made = made.send().await.map(drop).map_err(|error| {
        let code = error.code().unwrap_or_default().to_owned();
        (code, failed("the bucket", &error))
    });
    match made {
        Err((code, _)) if code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" => {
            Ok(())
        }
        Err((_, reason)) => Err(reason),
        Ok(()) => Ok(()),
    }
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
