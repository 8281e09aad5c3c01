//! Tokens of identity providers: JWTs, checked with the provider's public keys.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::http::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use s3s::{S3Error, S3Result};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::custom;
use super::settings::{Settings, unusable};
use super::tags::{self, Tags};
use crate::iam::Directory;

/// What a verified token says.
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audiences: Vec<String>,
    /// Session tags, by their keys in lower case.
    pub(super) tags: Tags,
}

#[derive(Deserialize)]
struct Raw {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: i64,
    nbf: Option<i64>,
    #[serde(rename = "https://aws.amazon.com/tags")]
    tags: Option<tags::Claim>,
    #[serde(rename = "https://aws.amazon.com/tags/principal_tags")]
    flat_tags: Option<tags::Principal>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// No others are taken, whatever the token says of itself.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// The token's claims, where a provider (of IAM, or of `sts.json`) has signed it and its time has come and is not
/// over.
pub(super) async fn verified(
    token: &str,
    settings: &Settings,
    directory: &Directory,
    now: OffsetDateTime,
) -> S3Result<Claims> {
    let header = decode_header(token).map_err(|_| invalid("it is not a JWT"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(invalid("it is signed with neither RS256 nor ES256"));
    }
    let issuer = claimed_issuer(token).ok_or_else(|| invalid("it names no issuer"))?;
    let of_iam = directory.provider_of(&issuer);
    if of_iam.is_none() && settings.provider(&issuer).is_none() {
        let text = "No OpenIDConnect provider found in your account for its issuer";
        return Err(invalid(text));
    }
    let keys = keys_of(&issuer, settings).await?;
    let named = header.kid.as_deref().and_then(|kid| keys.find(kid));
    let jwk = named.ok_or_else(|| invalid("the provider has no key of its key id"))?;
    let key = DecodingKey::from_jwk(jwk).map_err(|e| unusable(&e.to_string()))?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[&issuer]);
    // By the clock that is given, and by the role, below.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let raw = decode::<Raw>(token, &key, &validation)
        .map_err(|_| invalid("its signature or its claims are wrong"))?
        .claims;
    let seconds = now.unix_timestamp();
    if raw.exp <= seconds {
        let text = "The web identity token that was passed is expired";
        return Err(custom(
            "ExpiredTokenException",
            StatusCode::BAD_REQUEST,
            text,
        ));
    }
    if raw.nbf.is_some_and(|begin| begin > seconds) {
        return Err(invalid("its time has not come"));
    }
    let audiences = match raw.aud {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    };
    // A provider of IAM names the audiences that its tokens may have.
    if of_iam.is_some_and(|provider| !audiences.iter().any(|aud| provider.clients.contains(aud))) {
        return Err(custom(
            "InvalidIdentityToken",
            StatusCode::BAD_REQUEST,
            "Incorrect token audience",
        ));
    }
    Ok(Claims {
        issuer: raw.iss,
        subject: raw.sub,
        audiences,
        tags: tags::of(raw.tags, raw.flat_tags).map_err(invalid)?,
    })
}

/// Whose token it says that it is, before anything of it is believed.
fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let claims = token.split('.').nth(1)?;
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(claims).ok()?;
    let parsed: Issuer = serde_json::from_slice(&bytes).ok()?;
    Some(parsed.iss)
}

/// The provider's keys, read or fetched anew each time: rotated ones count at once.
async fn keys_of(issuer: &str, settings: &Settings) -> S3Result<JwkSet> {
    let place = match settings.provider(issuer) {
        Some(provider) => provider.jwks.clone(),
        None => discovered(issuer).await?,
    };
    let text = match place.strip_prefix("http://") {
        Some(_) => fetched(&place).await?,
        None => {
            let path = settings.folder().join(&place);
            tokio::fs::read_to_string(&path)
                .await
                .map_err(|e| unusable(&format!("{}: {e}", path.display())))?
        }
    };
    serde_json::from_str(&text).map_err(|e| not_reached(&place, &e.to_string()))
}

/// Where a provider of IAM says that its keys are (OpenID Connect Discovery 1.0, section 4).
async fn discovered(issuer: &str) -> S3Result<String> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
    }
    let place = format!("{issuer}/.well-known/openid-configuration");
    let text = fetched(&place).await?;
    let document: Document =
        serde_json::from_str(&text).map_err(|e| not_reached(&place, &e.to_string()))?;
    if document.issuer != issuer {
        return Err(not_reached(&place, "it is another issuer's"));
    }
    match document.jwks_uri.starts_with("http://") {
        true => Ok(document.jwks_uri),
        false => Err(not_reached(&document.jwks_uri, NO_TLS)),
    }
}

const NO_TLS: &str = "this store fetches over http:// on this machine only; name the place of the \
                      issuer's keys under \"providers\" in sts.json";

async fn fetched(place: &str) -> S3Result<String> {
    let address = place
        .strip_prefix("http://")
        .ok_or_else(|| not_reached(place, NO_TLS))?;
    let fetched = tokio::time::timeout(PATIENCE, fetch(address)).await;
    fetched
        .unwrap_or_else(|_| Err("no answer".into()))
        .map_err(|e| not_reached(place, &e))
}

const PATIENCE: Duration = Duration::from_secs(5);
/// A set of keys is some thousand bytes.
const LIMIT: u64 = 256 * 1024;

/// A GET in HTTP/1.0, whose answer ends with the connection; on this machine only, since it
/// is not protected.
async fn fetch(address: &str) -> Result<String, String> {
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let place: SocketAddr = host.parse().map_err(|_| "it has no address and port")?;
    if !place.ip().is_loopback() {
        return Err("it is not on this machine".into());
    }
    let asked = async {
        let mut stream = TcpStream::connect(place).await?;
        let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(LIMIT).read_to_string(&mut text).await?;
        Ok(text)
    };
    let text = asked.await.map_err(|e: std::io::Error| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("it is not HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(format!("status {}", status.unwrap_or("none"))),
    }
}

fn invalid(why: &str) -> S3Error {
    let text = format!("The web identity token that was passed could not be validated: {why}");
    custom("InvalidIdentityToken", StatusCode::BAD_REQUEST, &text)
}

fn not_reached(place: &str, why: &str) -> S3Error {
    let text = format!("the keys of the identity provider cannot be fetched from {place}: {why}");
    custom("IDPCommunicationError", StatusCode::BAD_REQUEST, &text)
}
