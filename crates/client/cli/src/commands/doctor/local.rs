//! What can be known without a store: files, keyring, FUSE, room for the cache.

use std::fs::File;
use std::path::Path;

use credentials::keyring::{KeyringError, KeyringKind};
use credentials::{Error, Folder, KeyFile, Paths};

use super::Finding;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// With less room than this, a mount soon makes writers wait.
const LITTLE_ROOM: u64 = 1 << 30;

pub(super) fn look(context: &Context) -> Result<Vec<Finding>> {
    let paths = context.paths()?;
    let mut findings = vec![
        Finding::of("files", files(context, &paths), |count| {
            format!("{count} files and folders of ours are private and whole")
        }),
        keyring(context),
        fuse(),
    ];
    findings.extend(passthrough());
    findings.push(room(paths.cache()));
    Ok(findings)
}

/// Modes, owners and forms of everything that we keep; how many there are.
fn files(context: &Context, paths: &Paths) -> Result<usize> {
    let mut count = 0;
    for folder in [paths.config(), paths.cache(), paths.state(), paths.data()] {
        count += usize::from(Folder::open(folder)?.is_some());
    }
    count += usize::from(KeyFile::load(paths.config())?.is_some());
    context.config()?;
    count += usize::from(paths.config_file().exists());
    let workspaces = context.workspaces()?;
    for name in workspaces.names()? {
        workspaces.load(&name)?;
        count += 1;
    }
    Ok(count)
}

/// The keyring, where one is used. Asks nobody for a password.
fn keyring(context: &Context) -> Finding {
    const CHECK: &str = "keyring";
    let silent = Context::new(context.output, true);
    let looked = || -> Result<Option<String>> {
        let config = silent.config()?;
        let profile = silent.profile(None)?;
        let configured = silent.keyring_settings(&config, &profile)?;
        if configured.is_none() && config.identities().is_empty() {
            return Ok(None);
        }
        let keyring = silent.identity_keyring(&config)?;
        if keyring.kind() == KeyringKind::Memory {
            return Ok(Some("keeps nothing from command to command".into()));
        }
        let count = match keyring.names() {
            Ok(names) => names.len(),
            // Locked is how a file keyring should be found.
            Err(Error::Keyring(KeyringError::NoPassword { .. })) => {
                let place = keyring.place();
                return Ok(Some(format!(
                    "{place} is locked; commands will ask for its password"
                )));
            }
            Err(other) => return Err(other.into()),
        };
        Ok(Some(format!(
            "{} answers; entries: {count}",
            keyring.place()
        )))
    };
    match looked() {
        Ok(None) => Finding::good(CHECK, "none is configured; keys are in byo-credentials"),
        other => Finding::of(CHECK, other, Option::unwrap_or_default),
    }
}

fn fuse() -> Finding {
    const CHECK: &str = "fuse";
    let missing = |what: String| Finding::problem(CHECK, Failure::new(Code::FuseMissing, what));
    let device = File::options().read(true).write(true).open("/dev/fuse");
    if let Err(e) = device {
        return missing(format!("/dev/fuse: {e}"));
    }
    if !is_root() && !in_path("fusermount3") {
        return missing("fusermount3, with which ordinary users mount, is not installed".into());
    }
    Finding::good(CHECK, "this user can mount")
}

/// Reads and writes without us need root and Linux 6.9.
fn passthrough() -> Option<Finding> {
    const CHECK: &str = "passthrough";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let version = (number()?, number()?);
    Some(if version < (6, 9) {
        let title = format!("Linux {release} does not let the kernel read cached files itself");
        Finding::note(CHECK, title, "works without, more slowly; Linux 6.9 has it")
    } else if !is_root() {
        let title = "only root may let the kernel read cached files itself";
        Finding::note(CHECK, title, "works without, more slowly")
    } else {
        Finding::good(CHECK, format!("Linux {release}, as root"))
    })
}

fn room(cache: &Path) -> Finding {
    const CHECK: &str = "cache";
    let there = cache.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Err(e) => {
            let text = format!("{}: {e}", there.display());
            Finding::problem(CHECK, Failure::new(Code::FileUnusable, text))
        }
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let title = format!("{} MiB are free for {}", free >> 20, cache.display());
            if free < LITTLE_ROOM {
                let next = "free some, or set XDG_CACHE_HOME to a disk with room";
                Finding::note(CHECK, title, next)
            } else {
                Finding::good(CHECK, title)
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
