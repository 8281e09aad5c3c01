//! What can go wrong between a workspace and a folder, in words a user can act on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::holders::Holder;

/// Why a mount or an operation on one was refused or failed.
///
/// Most have a [`hint`](Self::hint): the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum MountError {
    /// The mount point is not there and neither is its parent.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// The mount point is a file.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path asked for.
        path: PathBuf,
    },
    /// The mount point has entries, which a mount would hide.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The path asked for.
        path: PathBuf,
    },
    /// A workspace of ours is mounted exactly there.
    #[error("workspace {workspace} is mounted on {} already", path.display())]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
        /// Whose it is.
        workspace: String,
    },
    /// Something else is mounted exactly there.
    #[error("{} is a mount point of {kind} already", path.display())]
    ForeignMount {
        /// The mount point.
        path: PathBuf,
        /// The file system's type, as in `/proc/self/mountinfo`.
        kind: String,
    },
    /// The path lies in a folder where a workspace is mounted.
    #[error("{} lies inside the workspace {workspace}, mounted on {}", path.display(), outer.display())]
    InsideMount {
        /// The path asked for.
        path: PathBuf,
        /// The mount point around it.
        outer: PathBuf,
        /// The workspace mounted there.
        workspace: String,
    },
    /// Another process on this machine serves this workspace.
    #[error("workspace {workspace} is in use on this machine{}", place(at))]
    WorkspaceBusy {
        /// The workspace.
        workspace: String,
        /// Where it is mounted, when known.
        at: Option<PathBuf>,
    },
    /// The kernel's FUSE device or its helper is missing.
    #[error("FUSE is not available: {reason}")]
    FuseMissing {
        /// What is missing.
        reason: String,
    },
    /// The system refuses to mount there.
    #[error("mounting on {} is not permitted: {reason}", path.display())]
    NotPermitted {
        /// The mount point.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A program uses the mounted folder.
    #[error("{} is in use{}", path.display(), list(holders))]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// Who uses it, as far as this user may see.
        holders: Vec<Holder>,
    },
    /// Nothing of ours is mounted there, or under that name.
    #[error("no workspace is mounted as {what}")]
    NotMounted {
        /// The path or name asked for.
        what: String,
    },
    /// The process that served the mount is gone.
    #[error("the mount of {workspace} on {} is stale: its process is gone", path.display())]
    Stale {
        /// The mount point.
        path: PathBuf,
        /// The workspace.
        workspace: String,
    },
    /// The process that serves the mount does not answer.
    #[error("the mount on {} does not answer: {reason}", path.display())]
    Unresponsive {
        /// The mount point.
        path: PathBuf,
        /// What happened to the question.
        reason: String,
    },
    /// Uploads made no progress for as long as the caller would wait.
    #[error("{pending} still wait for upload{}", because(reason))]
    LeftPending {
        /// How much: "3 files (1.2 MiB)".
        pending: String,
        /// The last failure, when there was one.
        reason: Option<String>,
    },
    /// The background process ended before the mount was ready.
    #[error("the background process ended before the mount was ready ({how})")]
    Died {
        /// How it ended.
        how: String,
        /// Where its last words are.
        log: PathBuf,
    },
    /// The operating system failed at something local.
    #[error("cannot {action}: {reason}")]
    Local {
        /// What was tried: "write /…/x.json".
        action: String,
        /// The system's words.
        reason: String,
    },
}

impl MountError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { path } => format!("mkdir -p {}", path.display()),
            Self::NotADirectory { .. } => "choose an empty folder as the mount point".into(),
            Self::NotEmpty { .. } => {
                "choose an empty folder: what is in this one would be hidden by the mount".into()
            }
            Self::AlreadyMounted { path, .. } => format!("artifacts unmount {}", path.display()),
            Self::ForeignMount { .. } => "choose a folder where nothing is mounted".into(),
            Self::InsideMount { outer, .. } => format!(
                "choose a folder outside, or first: artifacts unmount {}",
                outer.display()
            ),
            Self::WorkspaceBusy { at: Some(at), .. } => {
                format!("use it there, or first: artifacts unmount {}", at.display())
            }
            Self::WorkspaceBusy { at: None, .. } => {
                "wait until its last uploads are done; `artifacts status` shows them".into()
            }
            Self::FuseMissing { .. } => {
                "install FUSE (Debian, Ubuntu: apt install fuse3); in a container, start it with \
                 --device /dev/fuse --cap-add SYS_ADMIN"
                    .into()
            }
            Self::NotPermitted { .. } => {
                "use a folder that you own; an ordinary user needs fusermount3 (apt install fuse3) \
                 and a /dev/fuse that everyone may open (as root: chmod 666 /dev/fuse)"
                    .into()
            }
            Self::Busy { path, .. } => format!(
                "close what uses it (a shell's working directory counts), or detach it at once \
                 with: artifacts unmount --lazy {}",
                path.display()
            ),
            Self::NotMounted { .. } => "`artifacts status` lists what is mounted".into(),
            Self::Stale { path, workspace } => format!(
                "mounting again repairs it and uploads what the crash left: artifacts mount \
                 {workspace} {}",
                path.display()
            ),
            Self::Unresponsive { .. } => "try again; if it stays so, see the mount's log".into(),
            Self::LeftPending { .. } => {
                "nothing is lost: it stays in the journal on this machine and goes up when the \
                 bucket can be reached and the workspace is mounted"
                    .into()
            }
            Self::Died { log, .. } => format!("its last words are in {}", log.display()),
            Self::Local { .. } => return None,
        })
    }

    /// A failure of the operating system at `action`.
    pub(crate) fn local(action: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Local {
            action: action.into(),
            reason: reason.to_string(),
        }
    }
}

fn place(at: &Option<PathBuf>) -> String {
    at.as_ref()
        .map_or_else(String::new, |at| format!(", mounted on {}", at.display()))
}

fn because(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"))
}

fn list(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let names: Vec<String> = holders.iter().take(5).map(ToString::to_string).collect();
    let more = holders.len().saturating_sub(5);
    let tail = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(" by {}{tail}", names.join(", "))
}
