//! What every command is given.

use std::future::Future;

use credentials::{Environment, KeyProfile, Paths, StorageKeys, Workspaces};

use crate::failure::{Code, Failure, Result};
use crate::output::Output;

/// The user's wishes that hold for every command, and the way to what is on the machine.
pub(crate) struct Context {
    /// Where data and notes go.
    pub(crate) output: Output,
    /// Whether questions are forbidden.
    pub(crate) no_input: bool,
}

impl Context {
    pub(crate) fn new(output: Output, no_input: bool) -> Self {
        Self { output, no_input }
    }

    /// The user's folders.
    pub(crate) fn paths(&self) -> Result<Paths> {
        Ok(Paths::from_environment()?)
    }

    /// The storage key chain of a profile.
    pub(crate) fn storage_keys(&self, profile: &KeyProfile) -> Result<StorageKeys> {
        let environment = Environment::from_process()?;
        Ok(StorageKeys::new(
            &self.paths()?,
            profile.clone(),
            environment,
        ))
    }

    /// The workspaces that this machine knows.
    pub(crate) fn workspaces(&self) -> Result<Workspaces> {
        Ok(Workspaces::new(&self.paths()?))
    }

    /// Runs a command that talks to a store.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(Code::Failed, format!("no runtime: {e}")))?;
        let answer = runtime.block_on(work);
        // A name lookup that hangs in a thread must not hold the command up.
        runtime.shutdown_background();
        answer
    }
}
