//! Every environment variable that the program looks at. The reference page of the
//! environment is printed from [`VARIABLES`].

use std::ffi::OsString;
use std::sync::OnceLock;

use crate::handed::Handed;

/// One variable.
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
    /// What counts where it is unset or empty.
    pub(crate) otherwise: &'static str,
}

/// The bucket of `workspace create` and `attach`.
pub(crate) const BUCKET: &str = "ARTIFACTS_S3_BUCKET";
/// The endpoint of `workspace create` and `attach`.
pub(crate) const ENDPOINT: &str = "ARTIFACTS_S3_ENDPOINT";
/// The prefix of `workspace create` and `attach`.
pub(crate) const PREFIX: &str = "ARTIFACTS_S3_PREFIX";
/// Which orchestrator is used.
pub(crate) const ORCHESTRATOR_URL: &str = "ARTIFACTS_ORCHESTRATOR_URL";
/// A login that somebody else made.
pub(crate) const TOKEN: &str = "ARTIFACTS_TOKEN";
/// Where the daemon listens.
pub(crate) const DAEMON_SOCKET: &str = "ARTIFACTS_DAEMON_SOCKET";
/// Which profile is meant.
pub(crate) const PROFILE: &str = "ARTIFACTS_PROFILE";
/// Which keyring is used.
pub(crate) const KEYRING_TYPE: &str = "ARTIFACTS_KEYRING_TYPE";
/// The password of an exported keyring.
pub(crate) const EXPORT_PASSWORD: &str = "ARTIFACTS_EXPORT_PASSWORD";
/// The next password of the file keyring.
pub(crate) const NEW_PASSWORD: &str = "ARTIFACTS_KEYRING_NEW_PASSWORD";
/// What is logged.
pub(crate) const LOG: &str = "ARTIFACTS_LOG";
/// What is logged, where [`LOG`] is unset.
pub(crate) const RUST_LOG: &str = "RUST_LOG";
/// Set to `true` by GitHub's runner.
pub(crate) const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";

/// All of them, by theme.
#[rustfmt::skip]
pub(crate) const VARIABLES: &[Variable] = &[
    Variable { name: "ARTIFACTS_S3_ACCESS_KEY_ID", meaning: "The access key id. Access key, secret and token are one unit: set in the environment, they win together; half of them is refused.", otherwise: "`ACCESS_KEY_ID` in `byo-credentials`" },
    Variable { name: "ARTIFACTS_S3_SECRET_ACCESS_KEY", meaning: "The secret access key.", otherwise: "`SECRET_ACCESS_KEY` in `byo-credentials`" },
    Variable { name: "ARTIFACTS_S3_SESSION_TOKEN", meaning: "The session token of temporary keys.", otherwise: "`SESSION_TOKEN` in `byo-credentials`, where the keys come from there too" },
    Variable { name: "ARTIFACTS_S3_REGION", meaning: "The region that requests are signed for. May be set alone, while the keys come from the file. Wins over the workspace's own region.", otherwise: "the workspace's region, then `AWS_REGION`, `AWS_DEFAULT_REGION`, `REGION` in `byo-credentials`, `us-east-1`" },
    Variable { name: "AWS_REGION", meaning: "The region, after `ARTIFACTS_S3_REGION` and the workspace's own.", otherwise: "`AWS_DEFAULT_REGION`" },
    Variable { name: "AWS_DEFAULT_REGION", meaning: "The region, after `AWS_REGION`.", otherwise: "`REGION` in `byo-credentials`" },
    Variable { name: BUCKET, meaning: "The bucket of `workspace create` and `workspace attach`.", otherwise: "`--bucket` must be given" },
    Variable { name: ENDPOINT, meaning: "The store's address for `workspace create` and `workspace attach`: `https://HOST` or `http://HOST:PORT`.", otherwise: "AWS" },
    Variable { name: PREFIX, meaning: "The prefix for `workspace create` and `workspace attach`.", otherwise: "the whole bucket" },
    Variable { name: ORCHESTRATOR_URL, meaning: "Which orchestrator is used: `https://HOST`.", otherwise: "`orchestrator.url` of `config.toml`, which `artifacts login URL` writes" },
    Variable { name: TOKEN, meaning: "A service token `art_…` (or a session) that is used in place of this machine's login at the orchestrator.", otherwise: "the login that `artifacts login` has saved" },
    Variable { name: credentials::vault::BROKER_VARIABLE, meaning: "The vault's broker: `https://HOST`.", otherwise: "`vault.broker` of `config.toml`, which `artifacts vault login URL` writes" },
    Variable { name: credentials::vault::WORKER_VARIABLE, meaning: "The vault's worker: `https://HOST`.", otherwise: "`vault.worker` of `config.toml`" },
    Variable { name: credentials::vault::SIGNER_VARIABLE, meaning: "The vault's signer, for the credential backend `s3`: `https://HOST`.", otherwise: "`vault.signer` of `config.toml`" },
    Variable { name: credentials::vault::BUCKET_VARIABLE, meaning: "The vault's bucket, for the credential backend `s3`.", otherwise: "`vault.bucket` of `config.toml`" },
    Variable { name: credentials::vault::ENDPOINT_VARIABLE, meaning: "The store of the vault's bucket.", otherwise: "`vault.endpoint` of `config.toml`, then AWS" },
    Variable { name: credentials::vault::STS_ENDPOINT_VARIABLE, meaning: "The STS of that store.", otherwise: "`vault.sts_endpoint` of `config.toml`, then the store" },
    Variable { name: credentials::vault::REGION_VARIABLE, meaning: "The region of the vault's bucket.", otherwise: "`vault.region` of `config.toml`, then `us-east-1`" },
    Variable { name: credentials::vault::ROLE_VARIABLE, meaning: "The role that opens the vault's bucket.", otherwise: "`vault.role_arn` of `config.toml`" },
    Variable { name: credentials::vault::CA_VARIABLE, meaning: "A file of certificates (PEM) that are trusted for the vault's servers instead of the machine's.", otherwise: "`vault.ca_file` of `config.toml`, then the machine's" },
    Variable { name: credentials::vault::BACKEND_VARIABLE, meaning: "The way to a secret: `s3`, `http` or `sidecar`.", otherwise: "`vault.credential_backend` of `config.toml`, then `sidecar` where `artifacts daemon start` has set one up, else `s3`" },
    Variable { name: DAEMON_SOCKET, meaning: "The socket of this machine's daemon, for `artifacts daemon` and the credential backend `sidecar`.", otherwise: "`artifacts/daemon.sock` in `XDG_RUNTIME_DIR`, else `daemon.sock` in the state folder" },
    Variable { name: "XDG_RUNTIME_DIR", meaning: "Where the daemon's socket is, in `artifacts/`. Must be absolute.", otherwise: "the state folder" },
    Variable { name: PROFILE, meaning: "The profile: which set of keys, and which keyring, as `[profiles.NAME]` in `config.toml` says. Counts wherever keys are looked up; in commands on a workspace it takes the place of the keys that the workspace was made with, an identity's too.", otherwise: "`default`; a workspace uses the keys that it was made with" },
    Variable { name: KEYRING_TYPE, meaning: "`system`, `file` or `memory`: in place of `type` in `config.toml`.", otherwise: "`auth.keyring.type` of `config.toml`; without it, storage keys are in `byo-credentials` and identities in the system keyring" },
    Variable { name: credentials::PASSWORD_VARIABLE, meaning: "The password of the file keyring, unless `auth.keyring.spec.password_env` names another variable.", otherwise: "asked for on a terminal" },
    Variable { name: NEW_PASSWORD, meaning: "The next password, for `artifacts auth keyring passwd`.", otherwise: "asked for on a terminal, twice" },
    Variable { name: EXPORT_PASSWORD, meaning: "The password of the file that `artifacts auth keyring export` writes and `import` reads.", otherwise: "asked for on a terminal" },
    Variable { name: "AWS_SHARED_CREDENTIALS_FILE", meaning: "The AWS tools' file, which is read for `--aws-profile` and `aws_profile`.", otherwise: "`~/.aws/credentials`" },
    Variable { name: "AWS_CONFIG_FILE", meaning: "The AWS tools' other file: the region for `--aws-profile` and `aws_profile`, where the first one has none.", otherwise: "`~/.aws/config`" },
    Variable { name: "ARTIFACTS_MOUNT_PROFILE", meaning: "The promises about time of a mount: `fast`, `balanced` or `safe`.", otherwise: "`balanced`" },
    Variable { name: "ARTIFACTS_MOUNT_READ_ONLY", meaning: "`true` mounts read-only.", otherwise: "read and write, where the keys may" },
    Variable { name: "ARTIFACTS_MOUNT_ALLOW_OTHER", meaning: "`true` lets other users of the machine into the mounted folder.", otherwise: "only who mounted; as root, everybody" },
    Variable { name: "ARTIFACTS_MOUNT_MEMORY_LIMIT", meaning: "Memory for the names that a mount knows: `512M`.", otherwise: "`512M`" },
    Variable { name: "ARTIFACTS_MOUNT_CACHE_SIZE", meaning: "Local disk for cached bodies: `10G`.", otherwise: "`10G`" },
    Variable { name: "ARTIFACTS_MOUNT_UPLOADS", meaning: "Uploads at one time, 1 to 256.", otherwise: "16" },
    Variable { name: "ARTIFACTS_MOUNT_ATTR_TTL", meaning: "The longest that another machine's change may stay unseen: `10s`.", otherwise: "the profile's" },
    Variable { name: "ARTIFACTS_MOUNT_WRITE_BACK", meaning: "How long after the last close an upload begins: `2s`.", otherwise: "the profile's" },
    Variable { name: "ARTIFACTS_MOUNT_ATTRIBUTES", meaning: "Where modes, owners and times that other tools set are looked for: `index` (with a file's bytes) or `head` (also when it is looked up by name).", otherwise: "`index`" },
    Variable { name: "ARTIFACTS_MOUNT_LAZY", meaning: "`true` lists nothing before it is asked for.", otherwise: "the tree is listed ahead" },
    Variable { name: "ARTIFACTS_MOUNT_TICKET", meaning: "The file of a ticket, with which a workspace of an orchestrator is mounted without a login.", otherwise: "this machine's login" },
    Variable { name: "ARTIFACTS_MOUNT_PASSTHROUGH", meaning: "`false` keeps the kernel from reading and writing whole local files by itself.", otherwise: "`true`; takes effect with CAP_SYS_ADMIN (as root has it) on Linux 6.9 or later" },
    Variable { name: "ARTIFACTS_MOUNT", meaning: "Set by `artifacts exec` for its command: the mounted folder.", otherwise: "not read by us" },
    Variable { name: "ARTIFACTS_CONFIG", meaning: "Another configuration file.", otherwise: "`config.toml` in the configuration folder" },
    Variable { name: LOG, meaning: "What is logged to standard error: `debug`, `bucket=trace` …", otherwise: "`RUST_LOG`, then `warn`" },
    Variable { name: RUST_LOG, meaning: "The same, as other Rust programs call it.", otherwise: "`warn`" },
    Variable { name: "HOME", meaning: "The user's home folder, below which everything is kept.", otherwise: "the user database's entry" },
    Variable { name: "XDG_CONFIG_HOME", meaning: "Where `artifacts/byo-credentials` and `artifacts/workspaces/` are. Must be absolute.", otherwise: "`~/.config`" },
    Variable { name: "XDG_CACHE_HOME", meaning: "Where file bodies are cached, in `artifacts/`. Must be absolute.", otherwise: "`~/.cache`" },
    Variable { name: "XDG_STATE_HOME", meaning: "Where journals and the mount table are, in `artifacts/`. Must be absolute.", otherwise: "`~/.local/state`" },
    Variable { name: "XDG_DATA_HOME", meaning: "Where other data are, in `artifacts/`. Must be absolute.", otherwise: "`~/.local/share`" },
    Variable { name: GITHUB_ACTIONS, meaning: "`true` makes `artifacts env -f github` register the secrets with the runner, so that its logs mask them.", otherwise: "no masks are printed" },
];

/// Those that hold secrets and whose names never change.
pub(crate) const SECRETS: [&str; 7] = [
    TOKEN,
    "ARTIFACTS_S3_ACCESS_KEY_ID",
    "ARTIFACTS_S3_SECRET_ACCESS_KEY",
    "ARTIFACTS_S3_SESSION_TOKEN",
    credentials::PASSWORD_VARIABLE,
    NEW_PASSWORD,
    EXPORT_PASSWORD,
];

/// What the parent of a background process gave it instead of its environment.
static HANDED: OnceLock<Vec<Handed>> = OnceLock::new();

/// From now on, these count as if they stood in the environment.
pub(crate) fn take_over(handed: Vec<Handed>) {
    // There is one parent, and it is asked once.
    let _ = HANDED.set(handed);
}

/// A variable's text; empty counts as unset.
pub(crate) fn text(name: &str) -> Option<String> {
    let text = raw(name)?.into_string().ok();
    text.filter(|value| !value.is_empty())
}

/// A variable as it stands in the environment, or as the parent gave it.
pub(crate) fn raw(name: &str) -> Option<OsString> {
    let handed = HANDED.get().into_iter().flatten();
    let mut given = handed.filter(|(known, _)| known == name);
    match given.next() {
        Some((_, value)) => Some(value.as_str().into()),
        None => std::env::var_os(name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Names of variables in the sources of this crate and of `credentials`.
    fn mentioned(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                mentioned(&path, names);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                let parts = text
                    .split('"')
                    .filter(|part| part.starts_with("ARTIFACTS_"));
                let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                names.extend(
                    parts
                        .filter(|part| part.chars().all(upper) && !part.ends_with('_'))
                        // What tests tell themselves.
                        .filter(|part| !part.starts_with("ARTIFACTS_TEST_"))
                        .map(str::to_owned),
                );
            }
        }
    }

    #[test]
    fn every_variable_of_ours_in_the_code_is_declared() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut names = BTreeSet::new();
        mentioned(&here.join("src"), &mut names);
        mentioned(&here.join("../credentials/src"), &mut names);
        assert!(names.contains("ARTIFACTS_S3_BUCKET"), "{names:?}");
        let declared: BTreeSet<_> = VARIABLES.iter().map(|v| v.name.to_owned()).collect();
        let missing: Vec<_> = names.difference(&declared).collect();
        assert!(missing.is_empty(), "not in VARIABLES: {missing:?}");
        assert_eq!(declared.len(), VARIABLES.len(), "one is declared twice");
    }
}
