//! The helper process of a mount: see the crate `mount`, module `wake`.

use mount::WakeProgram;

use crate::failure::{Code, Failure, Result};

/// The hidden command's name, as clap makes it of [`super::Command::WakeWatchers`].
const NAME: &str = "wake-watchers";

pub(crate) fn run() -> Result<()> {
    mount::serve_wakes().map_err(|e| Failure::new(Code::Failed, format!("lost the mount: {e}")))
}

/// How a mount starts it: this very program, even where its file was replaced since.
pub(crate) fn program() -> WakeProgram {
    WakeProgram {
        program: "/proc/self/exe".into(),
        arguments: vec![NAME.into()],
    }
}
