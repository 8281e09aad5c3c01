//! What a mount can fail with, in the program's codes.

use mount::MountError;
use mount::supervise::{self, LaunchError};

use crate::failure::{Code, Failure};

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let code = match &error {
            MountError::Local { .. } | MountError::Died { .. } => Code::Failed,
            MountError::FuseMissing { .. } => Code::FuseMissing,
            MountError::NotPermitted { .. } => Code::MountRefused,
            MountError::NotFound { .. } => Code::FolderNotFound,
            MountError::NotMounted { .. } => Code::NotMounted,
            MountError::NotADirectory { .. }
            | MountError::NotEmpty { .. }
            | MountError::ForeignMount { .. }
            | MountError::InsideMount { .. } => Code::NotAMountPoint,
            MountError::AlreadyMounted { .. } | MountError::WorkspaceBusy { .. } => {
                Code::AlreadyMounted
            }
            MountError::Busy { .. } => Code::MountBusy,
            MountError::Unresponsive { .. } => Code::MountSilent,
            MountError::Stale { .. } => Code::MountStale,
            MountError::LeftPending { .. } => Code::LeftUndone,
        };
        Self {
            code,
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Child(error) => error.into(),
            LaunchError::Told(told) => Self {
                code: code_named(&told.code),
                message: told.message,
                hint: told.hint,
            },
        }
    }
}

/// A failure as the background process tells it.
pub(crate) fn told(failure: &Failure) -> supervise::Failure {
    supervise::Failure {
        code: failure.code.as_str().to_owned(),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    }
}

fn code_named(name: &str) -> Code {
    Code::ALL
        .into_iter()
        .find(|code| code.as_str() == name)
        .unwrap_or(Code::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_way_from_the_background() {
        let busy = MountError::NotEmpty {
            path: "/mnt/work".into(),
        };
        let failure = Failure::from(busy);
        assert_eq!(failure.code.exit(), 6);
        assert_eq!(Failure::from(LaunchError::Told(told(&failure))), failure);
    }
}
