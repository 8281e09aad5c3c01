//! OpenID Connect providers: whose tokens may be exchanged, and whom those must be for.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{ACCOUNT, Directory, stamp};
use crate::iam::refusal::Refusal;

/// IAM's quota ("IAM and AWS STS quotas").
const CLIENTS: usize = 100;

/// A provider. Its name in the directory is its URL without the scheme.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// The tokens' issuer.
    pub(crate) url: String,
    /// The audiences that a token may have.
    pub(crate) clients: Vec<String>,
    /// Kept and shown; whom we fetch keys from is not decided by them (nor is it on AWS for
    /// certificates that a known authority has signed).
    pub(in crate::iam) thumbprints: Vec<String>,
    pub(in crate::iam) created: String,
}

/// The ARN of a provider by its URL.
pub(crate) fn provider_arn(url: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", short(url))
}

/// A URL without its scheme: so condition keys name a provider.
pub(crate) fn short(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

impl Directory {
    /// The provider of an issuer.
    pub(crate) fn provider_of(&self, issuer: &str) -> Option<&Provider> {
        let provider = self.providers.get(short(issuer));
        provider.filter(|provider| provider.url == issuer)
    }

    pub(in crate::iam) fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// A provider by its ARN.
    pub(in crate::iam) fn provider(&self, arn: &str) -> Result<&Provider, Refusal> {
        let name = name_in(arn)?;
        self.providers.get(name).ok_or_else(|| missing(arn))
    }

    pub(in crate::iam) fn create_provider(
        &mut self,
        url: &str,
        clients: Vec<String>,
        thumbprints: Vec<String>,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        check_url(url)?;
        if clients.len() > CLIENTS {
            return Err(Refusal::limit("ClientIdsPerOpenIdConnectProvider", CLIENTS));
        }
        if self.providers.contains_key(short(url)) {
            return Err(Refusal::exists("Provider", url));
        }
        let provider = Provider {
            url: url.to_owned(),
            clients,
            thumbprints,
            created: stamp(now),
        };
        self.providers.insert(short(url).to_owned(), provider);
        Ok(())
    }

    pub(in crate::iam) fn delete_provider(&mut self, arn: &str) -> Result<(), Refusal> {
        let removed = self.providers.remove(name_in(arn)?);
        removed.map(drop).ok_or_else(|| missing(arn))
    }

    /// Lets tokens for one more audience in; one that is there stays.
    pub(in crate::iam) fn add_client(&mut self, arn: &str, client: String) -> Result<(), Refusal> {
        let clients = &mut self.provider_mut(arn)?.clients;
        if clients.contains(&client) {
            return Ok(());
        }
        if clients.len() >= CLIENTS {
            return Err(Refusal::limit("ClientIdsPerOpenIdConnectProvider", CLIENTS));
        }
        clients.push(client);
        Ok(())
    }

    pub(in crate::iam) fn remove_client(&mut self, arn: &str, client: &str) -> Result<(), Refusal> {
        let clients = &mut self.provider_mut(arn)?.clients;
        clients.retain(|other| other != client);
        Ok(())
    }

    fn provider_mut(&mut self, arn: &str) -> Result<&mut Provider, Refusal> {
        let name = name_in(arn)?;
        self.providers.get_mut(name).ok_or_else(|| missing(arn))
    }
}

fn name_in(arn: &str) -> Result<&str, Refusal> {
    let name = arn.strip_prefix(&provider_arn(""));
    name.ok_or_else(|| Refusal::validation(format!("ARN {arn} is not valid.")))
}

fn missing(arn: &str) -> Refusal {
    Refusal::missing(format!("OpenIDConnect Provider not found for arn {arn}"))
}

/// AWS takes `https://` only. This store takes `http://` too for a provider on this machine:
/// what is to be protected does not leave it.
fn check_url(url: &str) -> Result<(), Refusal> {
    let rest = match url.split_once("://") {
        Some(("https", rest)) => Some(rest),
        Some(("http", rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let address = host.parse::<std::net::SocketAddr>().ok();
            address
                .filter(|address| address.ip().is_loopback())
                .map(|_| rest)
        }
        _ => None,
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._~:/%[]".contains(c);
    let good = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(good) && !rest.ends_with('/') && url.len() <= 255
    });
    match good {
        true => Ok(()),
        false => Err(Refusal::validation(
            "Url must begin with https:// (or http:// and an address of this machine) and have \
             no query, no fragment and no slash at its end",
        )),
    }
}
