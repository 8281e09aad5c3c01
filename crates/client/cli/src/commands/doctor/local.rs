//! What can be known without a store: files, keyring, FUSE, room for the cache.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use credentials::keyring::{Keyring, KeyringError, KeyringKind};
use credentials::{Config, Error, Folder, KeyFile, KeyringSettings, Paths, Privacy, Workspaces};

use super::Finding;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// With less room than this, a mount soon makes writers wait.
const LITTLE_ROOM: u64 = 1 << 30;

pub(super) fn look(context: &Context) -> Result<Vec<Finding>> {
    let paths = context.paths()?;
    let mut findings = files(context, &paths);
    findings.extend([keyring(context), fuse()]);
    findings.extend(passthrough());
    findings.push(room(paths.cache()));
    Ok(findings)
}

/// Modes, owners and forms of everything that we keep: each that is not as it must be.
fn files(context: &Context, paths: &Paths) -> Vec<Finding> {
    const CHECK: &str = "files";
    let mut seen = Seen::default();
    for folder in [paths.config(), paths.cache(), paths.state(), paths.data()] {
        seen.take(Folder::open(folder).map(|found| found.is_some().into()));
    }
    seen.take(KeyFile::load(paths.config()).map(|found| found.is_some().into()));
    seen.take(Config::load(paths).map(|_| paths.config_file().exists().into()));
    seen.take(workspaces(paths));
    seen.take(keyring_files(context, paths));
    let Seen { count, problems } = seen;
    if problems.is_empty() {
        let title = format!("{count} files and folders of ours are private and whole");
        return vec![Finding::good(CHECK, title)];
    }
    let problem = |failure| Finding::problem(CHECK, failure);
    problems.into_iter().map(problem).collect()
}

/// How many are well, and what is wrong, each once: a folder is in the way of many files.
#[derive(Default)]
struct Seen {
    count: usize,
    problems: Vec<Failure>,
}

impl Seen {
    fn take(&mut self, looked: credentials::Result<usize>) {
        match looked {
            Ok(count) => self.count += count,
            Err(error) => {
                let failure = Failure::from(error);
                if !self.problems.contains(&failure) {
                    self.problems.push(failure);
                }
            }
        }
    }
}

fn workspaces(paths: &Paths) -> credentials::Result<usize> {
    let workspaces = Workspaces::new(paths);
    let names = workspaces.names()?;
    for name in &names {
        workspaces.load(name)?;
    }
    Ok(names.len())
}

/// The folder of the file keyring, where that is the one that is used.
fn keyring_files(context: &Context, paths: &Paths) -> credentials::Result<usize> {
    // What is wrong with the configuration is found above.
    let settings = || -> Result<KeyringSettings> {
        let config = context.config()?;
        context.identity_settings(&config, &context.profile(None)?)
    };
    let Some(settings) = settings().ok().filter(|s| s.kind == KeyringKind::File) else {
        return Ok(0);
    };
    let Some(folder) = Folder::open(&settings.path(paths)?)? else {
        return Ok(0);
    };
    let names = folder.names()?;
    for name in &names {
        folder.read(name, Privacy::Secret)?;
    }
    Ok(names.len())
}

/// The keyring, where one is used. Asks nobody for a password.
fn keyring(context: &Context) -> Finding {
    const CHECK: &str = "keyring";
    let used = || -> Result<Option<Arc<dyn Keyring>>> {
        let config = context.config()?;
        let profile = context.profile(None)?;
        let configured = context.keyring_settings(&config, &profile)?;
        if configured.is_none() && config.identities().is_empty() {
            return Ok(None);
        }
        context.identity_keyring(&config, &profile).map(Some)
    };
    let keyring = match used() {
        Ok(Some(keyring)) => keyring,
        Ok(None) => return Finding::good(CHECK, "none is configured; keys are in byo-credentials"),
        Err(failure) => return Finding::problem(CHECK, failure),
    };
    let place = keyring.place();
    if keyring.kind() == KeyringKind::Memory {
        let next = "export the keys in each job, or choose another with ARTIFACTS_KEYRING_TYPE";
        let title = format!("{place} keeps nothing from command to command");
        return Finding::note(CHECK, "keeps-nothing", title, next);
    }
    match keyring.names() {
        Ok(names) => Finding::good(CHECK, format!("{place} answers; entries: {}", names.len())),
        // Locked is how a file keyring should be found.
        Err(Error::Keyring(KeyringError::NoPassword { .. })) => Finding {
            code: format!("{CHECK}-locked"),
            ..Finding::good(
                CHECK,
                format!("{place} is locked; commands will ask for its password"),
            )
        },
        Err(other) => Finding::problem(CHECK, other.into()),
    }
}

fn fuse() -> Finding {
    const CHECK: &str = "fuse";
    let missing = |what: String| Finding::problem(CHECK, Failure::new(Code::FuseMissing, what));
    let device = File::options().read(true).write(true).open("/dev/fuse");
    if let Err(e) = device {
        return missing(format!("/dev/fuse: {e}"));
    }
    if is_admin() {
        return Finding::good(CHECK, "this process may mount by itself");
    }
    if !in_path("fusermount3") {
        return missing("fusermount3, with which ordinary users mount, is not installed".into());
    }
    Finding::good(CHECK, "this user can mount, through fusermount3")
}

/// Reads and writes without us need CAP_SYS_ADMIN and Linux 6.9.
fn passthrough() -> Option<Finding> {
    const CHECK: &str = "passthrough";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let version = (number()?, number()?);
    Some(if version < (6, 9) {
        let title = format!("Linux {release} does not let the kernel read cached files itself");
        let next = "works without, more slowly; Linux 6.9 has it";
        Finding::note(CHECK, "old-kernel", title, next)
    } else if !is_admin() {
        let title = "without CAP_SYS_ADMIN the kernel may not read cached files itself";
        let next = "works without, more slowly; root has it, a container with --cap-add SYS_ADMIN";
        Finding::note(CHECK, "no-right", title, next)
    } else {
        Finding::good(CHECK, format!("Linux {release}, with CAP_SYS_ADMIN"))
    })
}

/// Whether this process has CAP_SYS_ADMIN, which both mounting without a helper and passthrough
/// need.
fn is_admin() -> bool {
    mount::passthrough_possible()
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
                Finding::note(CHECK, "little-room", title, next)
            } else {
                Finding::good(CHECK, title)
            }
        }
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
