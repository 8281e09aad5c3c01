//! Signing in with an issuer in a browser: authorization code with PKCE (RFC 6749 §4.1,
//! RFC 7636) and an ID token (OpenID Connect Core §3.1), as a relying party.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::Timestamp;
use aws_lc_rs::hmac;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Claims, Discovery, Foreign, Issuer, IssuerConfig, Issuers, read};
use crate::clients::is_safe;
use crate::tokens::{Refused, peek};

/// How a secret is shown unless an issuer says that it wants it otherwise.
const BY_HEADER: &str = "client_secret_basic";

/// One sign-in. All that has to be random about it follows from one secret, which the browser that
/// began it keeps and the issuer never sees.
pub struct Attempt(SecretString);

/// An issuer, as the way in for people with a browser.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    issuer: &'a Issuer,
    client_id: &'a str,
    /// Its place among all configured issuers.
    pub number: usize,
}

/// Why somebody who came back from an issuer is not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// It does not answer, or in a way that cannot be understood. The reason is for the log.
    #[error("the issuer does not answer as it should: {0}")]
    Unavailable(String),
    /// The code does not count.
    #[error("the issuer refused the code")]
    Code,
    /// The token does not count.
    #[error(transparent)]
    Token(#[from] Refused),
}

/// The answer of a token endpoint.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Attempt {
    /// The one of a secret.
    pub fn new(secret: SecretString) -> Self {
        Self(secret)
    }

    /// What the issuer gives back to the browser, so that nobody is made to finish a sign-in that
    /// another began.
    pub fn state(&self) -> String {
        self.derive("state")
    }

    /// What the ID token must name.
    fn nonce(&self) -> String {
        self.derive("nonce")
    }

    /// What only whoever began knows (RFC 7636 §4.1).
    fn verifier(&self) -> SecretString {
        self.derive("verifier").into()
    }

    /// RFC 7636 §4.2: S256.
    fn challenge(&self) -> String {
        let digest = Sha256::digest(self.verifier().expose_secret());
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(digest)
    }

    fn derive(&self, what: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret().as_bytes());
        let tag = hmac::sign(&key, what.as_bytes());
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(tag.as_ref())
    }
}

impl Issuers {
    /// The issuers that people sign in with in a browser.
    pub fn doors(&self) -> impl Iterator<Item = Door<'_>> {
        self.all.iter().enumerate().filter_map(|(number, issuer)| {
            let client_id = issuer.config.client_id.as_deref()?;
            Some(Door {
                issuer,
                client_id,
                number,
            })
        })
    }

    /// One of them, by its place.
    pub fn door(&self, number: usize) -> Option<Door<'_>> {
        self.doors().find(|door| door.number == number)
    }
}

impl Door<'_> {
    /// What the sign-in page calls it.
    pub fn name(&self) -> &str {
        let config = &self.issuer.config;
        config.name.as_deref().unwrap_or(&config.url)
    }

    /// Its issuer URL.
    pub fn url(&self) -> &str {
        &self.issuer.config.url
    }

    /// Where the browser goes to sign in.
    ///
    /// # Errors
    /// [`NotLetIn::Unavailable`].
    pub async fn begin(
        &self,
        attempt: &Attempt,
        back: &str,
        now: Timestamp,
    ) -> Result<String, NotLetIn> {
        let discovery = self.discovery(now).await?;
        let mut url = endpoint(discovery.authorization_endpoint, "authorization_endpoint")?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", "openid")
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce())
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Who came back with this code.
    ///
    /// # Errors
    /// Why nobody is let in.
    pub async fn finish(
        &self,
        attempt: &Attempt,
        code: &SecretString,
        back: &str,
        now: Timestamp,
    ) -> Result<Foreign, NotLetIn> {
        let discovery = self.discovery(now).await?;
        let token = self.exchange(discovery, attempt, code, back).await?;
        let seen = peek(token.expose_secret())?;
        if seen.issuer != self.issuer.config.url {
            return Err(Refused::Issuer.into());
        }
        // An ID token has the usual type or none.
        let kind = seen.kind.as_deref();
        if !kind.is_none_or(|kind| kind.eq_ignore_ascii_case("jwt")) {
            return Err(Refused::Type.into());
        }
        let token = token.expose_secret();
        let claims = self
            .issuer
            .claims(token, &seen, self.client_id, now)
            .await?;
        self.check(attempt, &claims)?;
        Ok(self.issuer.foreign(claims)?)
    }

    /// OpenID Connect Core §3.1.3.7, steps 5 and 11.
    fn check(&self, attempt: &Attempt, claims: &Claims) -> Result<(), Refused> {
        if claims.nonce.as_deref() != Some(&*attempt.nonce()) {
            return Err(Refused::Nonce);
        }
        if claims
            .azp
            .as_deref()
            .is_some_and(|azp| azp != self.client_id)
        {
            return Err(Refused::Audience);
        }
        Ok(())
    }

    async fn discovery(&self, now: Timestamp) -> Result<Discovery, NotLetIn> {
        let mut known = self.issuer.known.lock().await;
        let lacking = known.discovery.is_none();
        self.issuer.renew(&mut known, lacking, now).await;
        let discovery = known.discovery.clone();
        discovery.ok_or_else(|| NotLetIn::Unavailable("discovery failed".into()))
    }

    /// The ID token for a code.
    async fn exchange(
        &self,
        discovery: Discovery,
        attempt: &Attempt,
        code: &SecretString,
        back: &str,
    ) -> Result<SecretString, NotLetIn> {
        let methods = discovery.token_endpoint_auth_methods_supported;
        let by_header = methods.is_none_or(|methods| methods.iter().any(|m| m == BY_HEADER));
        let url = endpoint(discovery.token_endpoint, "token_endpoint")?;
        let mut request = self.issuer.clients.for_url(url.as_str()).post(url);
        if let Some(secret) = self.issuer.secret.as_ref().filter(|_| by_header) {
            // RFC 6749 §2.3.1: both are encoded before they are joined.
            let secret = SecretString::from(encoded(secret.expose_secret()));
            let client_id = encoded(self.client_id);
            request = request.basic_auth(client_id, Some(secret.expose_secret()));
        }
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(self.token_request(attempt, code, back, !by_header));
        let unavailable = |error: reqwest::Error| NotLetIn::Unavailable(error.to_string());
        let response = request.send().await.map_err(unavailable)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_client_error() => {
                tracing::warn!(issuer = self.url(), %status, "a code was refused");
                return Err(NotLetIn::Code);
            }
            status => return Err(NotLetIn::Unavailable(format!("it answered {status}"))),
        }
        let body = read(response).await.map_err(NotLetIn::Unavailable)?;
        // The parser's words could repeat a token.
        let tokens: Tokens = serde_json::from_slice(&body)
            .map_err(|_| NotLetIn::Unavailable("its answer has no ID token".into()))?;
        Ok(tokens.id_token.into())
    }

    fn token_request(
        &self,
        attempt: &Attempt,
        code: &SecretString,
        back: &str,
        with_secret: bool,
    ) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code.expose_secret())
            .append_pair("redirect_uri", back)
            .append_pair("client_id", self.client_id)
            .append_pair("code_verifier", attempt.verifier().expose_secret());
        if let Some(secret) = self.issuer.secret.as_ref().filter(|_| with_secret) {
            form.append_pair("client_secret", secret.expose_secret());
        }
        form.finish()
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn endpoint(named: Option<String>, what: &str) -> Result<Url, NotLetIn> {
    let named = named.filter(|url| is_safe(url));
    let url = named.and_then(|url| url.parse().ok());
    url.ok_or_else(|| NotLetIn::Unavailable(format!("discovery names no {what} with https://")))
}

/// The secret that the operator keeps outside of the configuration.
pub(super) fn client_secret(config: &IssuerConfig) -> Result<Option<SecretString>, String> {
    let url = &config.url;
    let secret = match (&config.client_secret_file, &config.client_secret_env) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(format!(
                "the issuer {url} has both client_secret_file and client_secret_env\nhint: name one"
            ));
        }
        (Some(path), None) => from_file(path)?,
        (None, Some(variable)) => from_environment(variable)?,
    };
    if config.client_id.is_none() {
        return Err(format!(
            "the issuer {url} has a client secret and no client_id\nhint: name the client_id, or leave the secret out"
        ));
    }
    Ok(Some(secret))
}

fn from_file(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    let wrong = |error: std::io::Error| {
        format!(
            "the client secret {shown} cannot be read: {error}\nhint: check the path and its permissions"
        )
    };
    let mode = fs::metadata(path).map_err(wrong)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "the client secret {shown} can be read by others (mode {mode:04o})\nhint: chmod 600 {shown}"
        ));
    }
    let text = SecretString::from(fs::read_to_string(path).map_err(wrong)?);
    whole(&text, &shown.to_string())
}

fn from_environment(variable: &str) -> Result<SecretString, String> {
    let text = std::env::var(variable).map_err(|_| {
        format!("the client secret {variable} is not set\nhint: set this variable, or take client_secret_env out of the configuration")
    })?;
    whole(&text.into(), variable)
}

fn whole(text: &SecretString, place: &str) -> Result<SecretString, String> {
    match text.expose_secret().trim() {
        "" => Err(format!(
            "the client secret {place} is empty\nhint: put the secret there, or take it out of the configuration"
        )),
        secret => Ok(secret.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(text: &str) -> IssuerConfig {
        toml::from_str(&format!("url = \"https://a\"\n{text}")).unwrap()
    }

    #[test]
    fn one_secret_gives_three_values_that_do_not_tell_of_each_other() {
        let attempt = Attempt::new("a secret".to_owned().into());
        let verifier = attempt.verifier();
        let values = [
            attempt.state(),
            attempt.nonce(),
            attempt.challenge(),
            verifier.expose_secret().to_owned(),
        ];
        for (place, value) in values.iter().enumerate() {
            assert_eq!(value.len(), 43);
            assert!(!values[..place].contains(value));
        }
        assert_eq!(attempt.state(), values[0]);
        let other = Attempt::new("another".to_owned().into());
        assert_ne!(other.state(), values[0]);
    }

    #[test]
    fn a_client_secret_is_in_one_place_that_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, " s3cret\n").unwrap();
        let named = format!("client_id = \"c\"\nclient_secret_file = {path:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = client_secret(&config(&named)).unwrap_err();
        assert!(refused.contains("can be read by others (mode 0644)\nhint: "));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = client_secret(&config(&named)).unwrap().unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
        let both = format!("{named}\nclient_secret_env = \"X\"");
        assert!(
            client_secret(&config(&both))
                .unwrap_err()
                .contains("has both")
        );
        let alone = format!("client_secret_file = {path:?}");
        let refused = client_secret(&config(&alone)).unwrap_err();
        assert!(refused.contains("no client_id"), "{refused}");
        fs::write(&path, "\n").unwrap();
        assert!(
            client_secret(&config(&named))
                .unwrap_err()
                .contains("is empty")
        );
        assert!(
            client_secret(&config("client_id = \"c\""))
                .unwrap()
                .is_none()
        );
    }
}
