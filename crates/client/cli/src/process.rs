//! What this process keeps from others: its memory, and, from the commands that it runs, the
//! secrets that only it needs.

use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::context::Context;
use crate::failure::Result;

/// The limit of core dumps that this process was started with.
static CORES_BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Keeps this process's memory, which may hold keys, from ever lying on a disk: no core dumps,
/// and no other process of the user may look into it. To be called before any secret is read.
pub(crate) fn protect() {
    let before = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    // A lower limit is always granted; where it is not, the setting below still holds.
    if setrlimit(Resource::Core, none).is_ok() {
        let _ = CORES_BEFORE.set(before);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Core dumps as they were, for as long as this lives: a command that is started inherits
/// them. This process itself is not dumped by that.
pub(crate) struct CoresAllowed(());

impl CoresAllowed {
    pub(crate) fn now() -> Self {
        if let Some(before) = CORES_BEFORE.get() {
            let _ = setrlimit(Resource::Core, *before);
        }
        Self(())
    }
}

impl Drop for CoresAllowed {
    fn drop(&mut self) {
        let maximum = getrlimit(Resource::Core).maximum;
        let none = Rlimit {
            current: Some(0),
            maximum,
        };
        let _ = setrlimit(Resource::Core, none);
    }
}

/// Takes from a command's environment what opens our keyrings, and our storage keys: whoever
/// wants those in a command asks for them with `artifacts env` or `artifacts auth exec`.
pub(crate) fn without_secrets(command: &mut Command, context: &Context) -> Result<()> {
    for name in context.secret_variables()? {
        command.env_remove(name);
    }
    if context.uses_file_keyring() {
        leave_session_keyring();
    }
    Ok(())
}

/// What this machine is called.
pub(crate) fn host_name() -> String {
    // Linux has no shorter way.
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

/// Gives this thread, and with it the commands that it starts, an empty session keyring in
/// place of the login's, in which the file keyring's key may be.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate that we use binds this call")]
fn leave_session_keyring() {
    /// KEYCTL_JOIN_SESSION_KEYRING of linux/keyctl.h.
    const JOIN: libc::c_long = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // Sound: the call takes a name or, as here, a null pointer, and touches no memory of ours.
    // A kernel that refuses has kept no key either.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN, anonymous) };
}

#[cfg(not(target_os = "linux"))]
fn leave_session_keyring() {}
