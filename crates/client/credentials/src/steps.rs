//! Where a process may die between two changes on disk. In tests it does, at the step that
//! `ARTIFACTS_TEST_DIE_AT_STEP` counts to; elsewhere a step is nothing.

/// One step of a change is done.
#[cfg(not(test))]
pub(crate) fn step() {}

#[cfg(test)]
pub(crate) use in_tests::step;

#[cfg(test)]
pub(crate) mod in_tests {
    use std::process::{Command, ExitStatus};
    use std::sync::atomic::{AtomicUsize, Ordering};

    static DONE: AtomicUsize = AtomicUsize::new(0);

    /// Kills this process, as `kill -9` does, at the step that the environment names.
    pub(crate) fn step() {
        let Ok(last) = std::env::var(VARIABLE) else {
            return;
        };
        let done = DONE.fetch_add(1, Ordering::Relaxed);
        if last == done.to_string() {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }

    /// Runs one test of this program again, as a process that dies at a step.
    pub(crate) fn run_to_step(test: &str, step: usize, variables: &[(&str, &str)]) -> ExitStatus {
        Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, step.to_string())
            .envs(variables.iter().copied())
            .stdout(std::process::Stdio::null())
            .status()
            .expect("started")
    }

    const VARIABLE: &str = "ARTIFACTS_TEST_DIE_AT_STEP";
}
