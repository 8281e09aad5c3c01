//! `artifactsd reference`: the pages of `docs/reference` about the server side, from the code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};

/// Prints one page.
#[derive(Args)]
pub(crate) struct Reference {
    /// Which one.
    page: Page,
}

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Page {
    /// Every role and command with its options, in Markdown.
    Commands,
    /// Everything that the orchestrator's configuration file can say, in Markdown.
    #[cfg(feature = "orchestrator")]
    OrchestratorConfig,
    /// Everything that the broker's configuration file can say, in Markdown.
    #[cfg(feature = "broker")]
    BrokerConfig,
    /// The interface of the orchestrator (OpenAPI 3.1), in JSON.
    #[cfg(feature = "orchestrator")]
    Openapi,
}

const NOTICE: &str =
    "<!-- Printed by `artifactsd reference`; change the code, not this file. -->\n";

pub(crate) fn run(reference: &Reference) -> ExitCode {
    match io::stdout().write_all(reference.page.text().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

impl Page {
    fn text(self) -> String {
        match self {
            Self::Commands => manual::page(
                crate::Arguments::command(),
                "Commands of artifactsd",
                NOTICE,
            ),
            #[cfg(feature = "broker")]
            Self::BrokerConfig => broker_config::page(),
            #[cfg(feature = "orchestrator")]
            Self::OrchestratorConfig => config::page(),
            #[cfg(feature = "orchestrator")]
            Self::Openapi => orchestrator::document_text(),
        }
    }
}

/// A key of a file: its name, the form of its value, what it does, what counts without it.
#[cfg(any(feature = "broker", feature = "orchestrator"))]
type Key = [&'static str; 4];

#[cfg(any(feature = "broker", feature = "orchestrator"))]
fn table(keys: &[Key]) -> String {
    let row = |[name, form, meaning, otherwise]: &Key| {
        format!("| `{name}` | {form} | {meaning} | {otherwise} |\n")
    };
    let rows: String = keys.iter().map(row).collect();
    format!("| key | value | what it does | without it |\n|---|---|---|---|\n{rows}")
}

#[cfg(feature = "broker")]
mod broker_config {
    use super::{Key, NOTICE, table};

    const ABOUT: &str = "`artifactsd broker serve --config FILE` (or `ARTIFACTS_BROKER_CONFIG`) reads a TOML file. \
It holds no secret. A key that is not known is an error.";

    #[rustfmt::skip]
    pub(super) const KEYS: &[Key] = &[
        ["public_url", "`https://HOST`", "Where clients reach the broker; also the issuer of all that it signs, by which a store's STS finds its keys. Sessions count only while it stays the same. `--public-url` wins over it.", "where the server listens"],
        ["cap_seconds", "30 to 300", "How long a capability counts.", "`120`"],
        ["session_hours", "1 to 720", "How long a person's session counts.", "`24`"],
        ["agent_session_hours", "1 to 720", "How long an agent's session counts; its device renews it before.", "`168`"],
        ["events_kept_hours", "a number", "For how many hours events are kept for daemons that were away; later they are told to drop everything.", "`24`"],
        ["streams_per_operator", "a number", "Streams of one operator's events.", "`1000`"],
        ["streams_per_device", "a number", "Of these, streams of one device, or of a session that is bound to none.", "`16`"],
        ["logins_per_minute", "a number", "Logins of each kind, and pairings, that may begin in a minute, of all together.", "`300`"],
        ["logins_per_address", "a number", "Of these, from one address (of IPv6, its first half). Behind a proxy all clients have one address: set it as high as `logins_per_minute`.", "`60`"],
        ["caps_per_minute", "a number", "Capabilities, identities and renewals that an actor may ask for in a minute.", "`600`"],
        ["wallet_chains", "a list of numbers", "The chains (EIP-155) whose wallets log in.", "no wallet logs in"],
        ["issuers", "tables `[[issuers]]`", "OpenID Connect providers that people come from.", "nobody but the first operator can log in"],
    ];

    #[rustfmt::skip]
    pub(super) const ISSUER_KEYS: &[Key] = &[
        ["url", "`https://HOST`; `http://…` on this machine only", "The issuer, exactly as its tokens name it (`iss`). Its keys are found below it by OpenID Connect Discovery.", "must be there"],
        ["kind", "`\"oidc\"`", "What `sub` is in its tokens: somebody's name at a provider. The broker takes no other kind.", "`\"oidc\"`"],
        ["algorithms", "a list of `\"RS256\"`, `\"PS256\"`, `\"ES256\"`, `\"ES384\"`, `\"EdDSA\"`", "What it signs with; tokens signed otherwise are refused.", "`[\"RS256\", \"ES256\"]`"],
        ["name", "a text", "What the sign-in page calls it.", "its URL"],
        ["client_id", "a text", "As whom the broker's pages are registered there, with the redirect URI `PUBLIC_URL/sign-in/callback`, for the authorization code flow.", "nobody signs in to the pages by it"],
        ["client_secret_file", "a path", "The file (mode 0600) of the client's secret.", "the client is public: PKCE alone"],
        ["client_secret_env", "a name", "The environment variable that has the client's secret instead.", "the client is public: PKCE alone"],
    ];

    pub(super) const EXAMPLE: &str = r#"public_url = "https://vault.example.com"
wallet_chains = [1]

[[issuers]]
url = "https://login.example.com"
algorithms = ["ES256"]
name = "Example"
client_id = "artifacts-vault"
client_secret_file = "/etc/artifacts/client-secret"
"#;

    pub(super) fn page() -> String {
        format!(
            "{NOTICE}\n# The broker's configuration file\n\n{ABOUT}\n\n```toml\n{EXAMPLE}```\n\n{}\n## `[[issuers]]`\n\n{}",
            table(KEYS),
            table(ISSUER_KEYS)
        )
    }
}

#[cfg(feature = "orchestrator")]
mod config {
    use super::{Key, NOTICE, table};

    const ABOUT: &str = "`artifactsd orchestrator --config FILE` (or `ARTIFACTS_ORCHESTRATOR_CONFIG`) reads \
a TOML file. It holds no secret: the administrator's keys and the database's password come from the \
environment or from files of their own. A key that is not known is an error.";

    #[rustfmt::skip]
    pub(super) const KEYS: &[Key] = &[
        ["public_url", "`https://HOST`", "Where clients reach the server; also the issuer of its sessions and tickets, which count only while it stays the same. `--public-url` wins over it.", "where the server listens"],
        ["signing_key", "a path", "The file (PEM, mode 0600) of the key that signs sessions and tickets; made when missing. `--signing-key` wins over it.", "beside an SQLite database; with PostgreSQL it must be named"],
        ["bucket_prefix", "at most 30 of a-z, 0-9 and `-`", "What names of buckets begin with.", "`artifacts-`"],
        ["session_hours", "a number", "How long a session lasts.", "`720`"],
        ["revoke_unused_after_days", "a number", "After how many days without a word from a mount a storage key is revoked.", "never"],
        ["revoke_unconfirmed_after_hours", "a number", "After how many hours a storage key is revoked that no mount ever said that it has: whoever asked for it may have died before the answer came. Only where mounts are the only users of keys; others never say anything.", "never"],
        ["keys_per_minute", "a number", "Storage keys that a tenant may ask for in a minute.", "`60`"],
        ["announcements_per_minute", "a number", "Announcements of changes that a tenant may make in a minute.", "`6000`"],
        ["mount_reports_per_minute", "a number", "Reports that the mounts of a tenant may make in a minute; an idle mount makes four.", "`12000`"],
        ["streams_per_tenant", "a number", "Streams of events that a tenant may have at one server.", "`1000`"],
        ["events_kept_hours", "a number", "For how many hours events are kept for those who were away; later they are told to list again.", "`24`"],
        ["logins_per_minute", "a number", "Logins that may begin in a minute, of all together.", "`300`"],
        ["issuers", "tables `[[issuers]]`", "Where people come from: OpenID Connect providers, and the broker.", "nobody but the first operator can log in"],
    ];

    #[rustfmt::skip]
    pub(super) const ISSUER_KEYS: &[Key] = &[
        ["url", "`https://HOST`; `http://…` on this machine only", "The issuer, exactly as its tokens name it (`iss`). Its keys are found below it by OpenID Connect Discovery.", "must be there"],
        ["kind", "`\"oidc\"`, `\"broker\"`", "What `sub` is in its tokens: somebody's name at a provider, or an actor already.", "`\"oidc\"`"],
        ["algorithms", "a list of `\"RS256\"`, `\"PS256\"`, `\"ES256\"`, `\"ES384\"`, `\"EdDSA\"`", "What it signs with; tokens signed otherwise are refused.", "`[\"RS256\", \"ES256\"]`"],
        ["name", "a text", "What the console's sign-in page calls it.", "its URL"],
        ["client_id", "a text", "As whom the console is registered there, with the redirect URI `PUBLIC_URL/console/sign-in/callback`, for the authorization code flow.", "nobody signs in to the console by it"],
        ["client_secret_file", "a path", "The file (mode 0600) of the client's secret.", "the client is public: PKCE alone"],
        ["client_secret_env", "a name", "The environment variable that has the client's secret instead.", "the client is public: PKCE alone"],
    ];

    pub(super) const EXAMPLE: &str = r#"public_url = "https://artifacts.example.com"
signing_key = "/var/lib/artifacts/session-key.pem"
revoke_unused_after_days = 90

[[issuers]]
url = "https://login.example.com"
algorithms = ["ES256"]
name = "Example"
client_id = "artifacts-console"
client_secret_file = "/etc/artifacts/client-secret"
"#;

    pub(super) fn page() -> String {
        format!(
            "{NOTICE}\n# The orchestrator's configuration file\n\n{ABOUT}\n\n```toml\n{EXAMPLE}```\n\n{}\n## `[[issuers]]`\n\n{}",
            table(KEYS),
            table(ISSUER_KEYS)
        )
    }
}

#[cfg(all(
    test,
    feature = "broker",
    feature = "dev",
    feature = "orchestrator",
    feature = "provider"
))]
mod tests {
    use std::path::Path;

    use super::*;

    const FILES: [(Page, &str); 4] = [
        (Page::Commands, "artifactsd.md"),
        (Page::BrokerConfig, "broker-config.md"),
        (Page::OrchestratorConfig, "orchestrator-config.md"),
        (Page::Openapi, "openapi.json"),
    ];

    #[test]
    fn the_committed_pages_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference");
        for (page, file) in FILES {
            let committed = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(
                committed == page.text(),
                "docs/reference/{file} differs from the code; renew it with: make docs"
            );
        }
    }

    /// The reader names all keys that it knows when it meets one that it does not.
    fn known_keys(text: &str, refusal: impl Fn(&Path) -> String) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        let refusal = refusal(&path);
        let (_, names) = refusal.split_once("expected").expect("it names them");
        let names = names.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_page_has_just_the_keys_that_are_read() {
        let shown = |keys: &[[&'static str; 4]]| keys.iter().map(|key| key[0]).collect::<Vec<_>>();
        let orchestrators = |path: &Path| match orchestrator::File::read(path) {
            Ok(_) => panic!("it is not known"),
            Err(refusal) => refusal.to_string(),
        };
        let brokers = |path: &Path| match broker::File::read(path) {
            Ok(_) => panic!("it is not known"),
            Err(refusal) => refusal.to_string(),
        };
        let text = "unheard_of = 1";
        assert_eq!(known_keys(text, orchestrators), shown(config::KEYS));
        assert_eq!(known_keys(text, brokers), shown(broker_config::KEYS));
        let issuer = "[[issuers]]\nurl = \"https://a\"\nunheard_of = 1";
        let both = shown(config::ISSUER_KEYS);
        assert_eq!(known_keys(issuer, orchestrators), both);
        assert_eq!(known_keys(issuer, brokers), both);
        assert_eq!(shown(broker_config::ISSUER_KEYS), both);
    }

    #[test]
    fn the_example_is_read_as_it_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config::EXAMPLE).expect("written");
        let file = orchestrator::File::read(&path).expect("good");
        assert_eq!(file.revoke_unused_after_days, Some(90));
        assert_eq!(file.issuers[0].url, "https://login.example.com");
        let client = file.issuers[0].client_id.as_deref();
        assert_eq!(client, Some("artifacts-console"));
        std::fs::write(&path, broker_config::EXAMPLE).expect("written");
        let file = broker::File::read(&path).expect("good");
        assert_eq!(file.wallet_chains, [1]);
        let client = file.issuers[0].client_id.as_deref();
        assert_eq!(client, Some("artifacts-vault"));
    }
}
