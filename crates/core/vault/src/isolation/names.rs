//! The names that the documents are made of.

use std::fmt;
use std::str::FromStr;

/// The ARN of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleArn {
    whole: String,
    partition: String,
    account: String,
    path: String,
    name: String,
}

/// Who issues tokens: an address without query, fragment and slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(String);

/// Why a text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {hint}")]
pub struct InvalidName {
    /// What it was to be.
    pub what: &'static str,
    /// Its beginning.
    pub text: String,
    /// How one is written.
    pub hint: &'static str,
}

impl RoleArn {
    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// The role's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role's path, with a slash at both ends.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `aws`, or that of another part of AWS.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The ARN of the provider of this issuer's tokens, in the same account.
    pub fn provider(&self, issuer: &Issuer) -> String {
        let (partition, account) = (&self.partition, &self.account);
        format!(
            "arn:{partition}:iam::{account}:oidc-provider/{}",
            issuer.short()
        )
    }
}

impl FromStr for RoleArn {
    type Err = InvalidName;

    /// `arn:aws:iam::ACCOUNT:role/NAME`; SeaweedFS has `arn:aws:iam::role/NAME`.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hint = "write arn:aws:iam::ACCOUNT:role/NAME (for SeaweedFS: arn:aws:iam::role/NAME)";
        let refused = || wrong("role", text, hint);
        let parts: Vec<&str> = text.split(':').collect();
        let (partition, account, resource) = match parts[..] {
            ["arn", partition, "iam", "", account, resource] => (partition, account, resource),
            ["arn", partition, "iam", "", resource] => (partition, "", resource),
            _ => return Err(refused()),
        };
        let path = resource.strip_prefix("role/").ok_or_else(refused)?;
        let (path, name) = match path.rsplit_once('/') {
            Some((path, name)) => (format!("/{path}/"), name),
            None => ("/".to_owned(), path),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        let good = partition.starts_with("aws")
            && account.chars().all(|c| c.is_ascii_digit())
            && (1..=64).contains(&name.len())
            && name.chars().all(word)
            && path.chars().all(|c| word(c) || c == '/');
        match good {
            true => Ok(Self {
                whole: text.to_owned(),
                partition: partition.to_owned(),
                account: account.to_owned(),
                path,
                name: name.to_owned(),
            }),
            false => Err(refused()),
        }
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl Issuer {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the scheme: so an STS names a provider.
    pub fn short(&self) -> &str {
        self.0.split_once("://").map_or(&self.0, |(_, rest)| rest)
    }
}

impl FromStr for Issuer {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hint = "write the broker's issuer as its /.well-known/openid-configuration has it: \
                    https://HOST, without query and slash at the end";
        let rest = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let good = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
        match rest {
            Some(rest) if !rest.is_empty() && !rest.ends_with('/') && rest.chars().all(good) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(wrong("issuer", text, hint)),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn wrong(what: &'static str, text: &str, hint: &'static str) -> InvalidName {
    InvalidName {
        what,
        text: text.chars().take(200).collect(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_roles_are_read_whole_or_not_at_all() {
        let role: RoleArn = "arn:aws:iam::123456789012:role/team/x/vault"
            .parse()
            .unwrap();
        assert_eq!((role.path(), role.name()), ("/team/x/", "vault"));
        let issuer: Issuer = "https://broker.example.com/a".parse().unwrap();
        let provider = "arn:aws:iam::123456789012:oidc-provider/broker.example.com/a";
        assert_eq!(role.provider(&issuer), provider);
        let weed: RoleArn = "arn:aws:iam::role/vault".parse().unwrap();
        assert_eq!((weed.path(), weed.name()), ("/", "vault"));
        for wrong in [
            "",
            "vault",
            "arn:aws:iam::123456789012:user/vault",
            "arn:aws:iam::x:role/vault",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a*",
            "arn:aws:s3::123456789012:role/a",
        ] {
            assert!(wrong.parse::<RoleArn>().is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "broker",
            "https://",
            "https://b/",
            "https://b?x",
            "ftp://b",
        ] {
            assert!(wrong.parse::<Issuer>().is_err(), "{wrong}");
        }
    }
}
