//! The page of `config.toml`.

use super::tables::{NOTICE, table};

/// A table of the file, and what can stand in it.
struct Section {
    heading: &'static str,
    about: &'static str,
    keys: &'static [Key],
}

struct Key {
    name: &'static str,
    /// The form of its value.
    form: &'static str,
    meaning: &'static str,
    /// What counts without it.
    otherwise: &'static str,
}

const ABOUT: &str = "`~/.config/artifacts/config.toml` says which keyring keeps the keys, which identities \
there are, and what a profile means. It never holds a secret. `ARTIFACTS_CONFIG` names another file. \
Commands change single values in it and leave comments as they are; other users must not be able to \
write to it or to its folder. A setting of a keyring that is not known is an error, because it was \
meant to protect keys; others that are not known are named in a warning.";

#[rustfmt::skip]
const SECTIONS: &[Section] = &[
    Section {
        heading: "auth.keyring",
        about: "The keyring of storage keys and identities. Without this table storage keys are in `byo-credentials`, and identities in the system keyring.",
        keys: &[
            Key { name: "type", form: "`\"system\"`, `\"file\"`, `\"memory\"`", meaning: "The backend: the desktop's keyring, a folder of encrypted files, or nothing that lasts. `ARTIFACTS_KEYRING_TYPE` wins over it. Written by `artifacts auth keyring migrate`.", otherwise: "must be there" },
        ],
    },
    Section {
        heading: "auth.keyring.spec",
        about: "What only the file keyring needs.",
        keys: &[
            Key { name: "path", form: "a path, absolute or `~/…`", meaning: "The keyring's folder.", otherwise: "`~/.local/share/artifacts/keyring`" },
            Key { name: "password_env", form: "a variable's name", meaning: "The variable that has the password.", otherwise: "`ARTIFACTS_KEYRING_PASSWORD`" },
            Key { name: "unlock_for", form: "a time: `45s`, `30m`, `12h`, `7d`", meaning: "How long a password that was given once opens the keyring for the commands that follow; `0s` for not at all. Only where the kernel has a session keyring.", otherwise: "`1h`" },
        ],
    },
    Section {
        heading: "auth.identities.NAME",
        about: "An identity, as `artifacts auth user configure --identity NAME` writes it. With `web_identity_token_file` it logs in with a provider's token; else with `role_arn` it assumes a role; else it gets a session of its own keys.",
        keys: &[
            Key { name: "endpoint", form: "`https://HOST`; `http://…` on this machine only", meaning: "The STS's address.", otherwise: "that of AWS in the region" },
            Key { name: "region", form: "text", meaning: "The region that requests to the STS are signed for; handed on as `AWS_REGION`.", otherwise: "`us-east-1`, and nothing is handed on" },
            Key { name: "mfa_device", form: "a serial number or ARN", meaning: "The device whose code each login asks for.", otherwise: "no code is asked for" },
            Key { name: "session_length", form: "a time: `45m`, `12h`", meaning: "How long a session lasts.", otherwise: "the STS's own: at AWS 12 h, for a role 1 h" },
            Key { name: "role_arn", form: "an ARN", meaning: "The role to assume.", otherwise: "a session of the keys' own user" },
            Key { name: "external_id", form: "text", meaning: "What the role's owner has agreed on as a further condition.", otherwise: "none is sent" },
            Key { name: "web_identity_token_file", form: "a path", meaning: "A file with an identity provider's token, read at each login.", otherwise: "long-lived keys, from the keyring" },
        ],
    },
    Section {
        heading: "profiles.NAME",
        about: "What `--profile NAME` and `ARTIFACTS_PROFILE=NAME` mean; `default` is the profile without a name. A profile needs no table: its keys are then under its name in the usual place.",
        keys: &[
            Key { name: "keyring", form: "a table as `auth.keyring`, with its `spec`", meaning: "Another keyring for this profile's storage keys and identities.", otherwise: "the usual one" },
            Key { name: "identity", form: "an identity's name", meaning: "The profile's keys are those of this identity's session.", otherwise: "storage keys of its own" },
            Key { name: "aws_profile", form: "a name", meaning: "The profile's keys are those of this profile of the AWS tools, whose files are only read.", otherwise: "storage keys of its own" },
        ],
    },
    Section {
        heading: "vault",
        about: "Where the vault of agents' keys is. Every value but the last four may come from a variable instead. A name that is not known is an error.",
        keys: &[
            Key { name: "broker", form: "`https://HOST`", meaning: "Logins and capabilities. Written by `artifacts vault login URL`.", otherwise: "must be given" },
            Key { name: "worker", form: "`https://HOST`", meaning: "Stores and fetches for whoever shows a capability.", otherwise: "must be there for `http` and `sidecar`" },
            Key { name: "signer", form: "`https://HOST`", meaning: "Derives keys for the backend `s3`.", otherwise: "must be there for `s3`" },
            Key { name: "bucket", form: "a name", meaning: "The bucket, for the backend `s3`.", otherwise: "must be there for `s3`" },
            Key { name: "endpoint", form: "`https://HOST`", meaning: "The bucket's store.", otherwise: "AWS" },
            Key { name: "sts_endpoint", form: "`https://HOST`", meaning: "The store's STS.", otherwise: "`endpoint`" },
            Key { name: "region", form: "text", meaning: "The store's region.", otherwise: "`us-east-1`" },
            Key { name: "role_arn", form: "an ARN", meaning: "The role that a web identity assumes.", otherwise: "must be there for `s3`" },
            Key { name: "ca_file", form: "a path, absolute or `~/…`", meaning: "Certificates (PEM) that are trusted for these servers instead of the machine's.", otherwise: "the machine's" },
            Key { name: "credential_backend", form: "`\"s3\"`, `\"http\"`, `\"sidecar\"`", meaning: "The way to a secret. `--credential-backend` wins over it.", otherwise: "`sidecar` where a daemon is set up, else `s3`" },
            Key { name: "allow", form: "a list of `\"01\"`, `\"02\"`", meaning: "Which envelopes of older programs are opened by the backend `s3`.", otherwise: "none" },
            Key { name: "wallet", form: "`0x` and 40 digits of 0-9 and a-f", meaning: "The wallet of such envelopes.", otherwise: "they are not opened" },
            Key { name: "registry", form: "a table, below", meaning: "Where devices and scopes are registered.", otherwise: "`artifacts scope` and `artifacts device` cannot be used" },
        ],
    },
    Section {
        heading: "vault.registry",
        about: "With `kind = \"chain\"`: `rpc` (one or two addresses), `chain_id`, `device_registry`, `scope_contract`, `epoch_counter` and, where it is used, `credential_audit` (contracts' addresses). With `kind = \"documents\"`: `folder`. With both, where it is used: `key_file`.",
        keys: &[
            Key { name: "key_file", form: "a path, absolute or `~/…`", meaning: "The file (mode 0600) of the key that writes: a wallet's 64 hexadecimal digits, or a P-256 key in PKCS #8.", otherwise: "the key that `artifacts registry key` shows" },
            Key { name: "kind", form: "`\"chain\"`, `\"documents\"`", meaning: "Contracts on a chain, or documents that the operator signs.", otherwise: "must be there" },
        ],
    },
];

const EXAMPLE: &str = r#"[auth.keyring]
type = "system"

[auth.identities.ada]
endpoint = "https://sts.example.com"
role_arn = "arn:aws:iam::123456789012:role/Files"
session_length = "8h"

# A server without a desktop: --profile server
[profiles.server.keyring]
type = "file"
spec = { path = "~/keys", password_env = "VAULT_PASSWORD", unlock_for = "12h" }

[vault]
broker = "https://broker.example.com"
worker = "https://worker.example.com"

# The keys of ada's session: --profile work
[profiles.work]
identity = "ada"
"#;

pub(super) fn page() -> String {
    let sections: String = SECTIONS.iter().map(section).collect();
    format!("{NOTICE}\n# config.toml\n\n{ABOUT}\n\n```toml\n{EXAMPLE}```\n{sections}")
}

fn section(section: &Section) -> String {
    let rows = section.keys.iter().map(|key| {
        let name = format!("`{}`", key.name);
        [
            name,
            key.form.into(),
            key.meaning.into(),
            key.otherwise.into(),
        ]
    });
    let table = table(["key", "value", "what it does", "without it"], rows);
    format!(
        "\n## `[{}]`\n\n{}\n\n{table}",
        section.heading, section.about
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use credentials::{Config, KeyProfile, Paths};

    use super::*;

    /// The configuration that a text is read as.
    fn read(text: &str) -> credentials::Result<Config> {
        let home = tempfile::tempdir().expect("a temporary folder");
        let paths = Paths::under(home.path());
        let folder = credentials::Folder::create(paths.config()).expect("made");
        folder
            .replace("config.toml", text.as_bytes())
            .expect("written");
        Config::load(&paths)
    }

    #[test]
    fn the_example_is_read_as_it_says() {
        let config = read(EXAMPLE).expect("good");
        let ada = "ada".parse().expect("a name");
        assert!(config.identities().contains_key(&ada));
        let server: KeyProfile = "server".parse().expect("a name");
        let keyring = config.keyring(&server, None).expect("one");
        assert_eq!(keyring.password_variable(), "VAULT_PASSWORD");
        let work = config.profile(&"work".parse().expect("a name"));
        assert_eq!(work.identity, Some(ada));
    }

    /// Every key that the code reads is on the page: its fields are taken from what it says of
    /// a key that it does not know.
    #[test]
    fn identities_have_just_the_keys_of_the_page() {
        let full = credentials::Identity {
            endpoint: "https://sts.example.com".parse().ok(),
            region: Some("r".into()),
            mfa_device: Some("d".into()),
            session_length: "1h".parse().ok(),
            role_arn: Some("a".into()),
            external_id: Some("e".into()),
            web_identity_token_file: Some("t".into()),
        };
        let table = toml::Table::try_from(full).expect("a table");
        let written: BTreeSet<&str> = table.keys().map(String::as_str).collect();
        let section = SECTIONS
            .iter()
            .find(|s| s.heading == "auth.identities.NAME");
        let told = section.expect("a section").keys.iter().map(|key| key.name);
        assert_eq!(told.collect::<BTreeSet<_>>(), written);
    }
}
