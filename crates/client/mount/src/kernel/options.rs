//! What is agreed with the kernel when a session begins, and why.

use std::thread::available_parallelism;

use fuser::{Config, InitFlags, KernelConfig, SessionACL};

use super::files::Passthrough;
use super::{Kernel, KernelOptions};
use crate::attach::device_opens;

/// One write request carries up to this much.
const MAX_WRITE: u32 = 1 << 20;
/// Asked for; the kernel grants no more than its own read-ahead setting of the device.
const MAX_READAHEAD: u32 = 4 << 20;
/// Read-ahead requests that may wait for us at one time.
const MAX_BACKGROUND: u16 = 128;

/// The threads of a session and whom it answers.
pub(super) fn session(options: &KernelOptions) -> (SessionACL, Config) {
    let acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(available_parallelism().map_or(2, |n| n.get().clamp(2, 4)));
    // A queue per thread; needs the device itself, which a user's container may lack.
    config.clone_fd = device_opens();
    (acl, config)
}

/// Settles the kernel's capabilities.
///
/// Not asked for: the write-back cache (excludes passthrough, and would keep written bytes
/// from the journal), locks (the kernel keeps flock and fcntl locks among the programs of
/// this machine by itself), ACLs, automatic invalidation by mtime (would drop the pages of
/// a file after each of our own writes; the tree says when another machine changed it).
pub(super) fn agree(kernel: &Kernel, config: &mut KernelConfig) {
    for wanted in [
        // Names and attributes come together: one call instead of one lookup per file.
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        // Without it each write asks for `security.capability` first.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_BIG_WRITES,
        InitFlags::FUSE_MAX_PAGES,
    ] {
        if let Err(missing) = config.add_capabilities(wanted) {
            tracing::debug!(?missing, "this kernel does without");
        }
    }
    // Each refusal names the nearest value that is granted.
    if let Err(nearest) = config.set_max_write(MAX_WRITE) {
        let _ = config.set_max_write(nearest);
    }
    if let Err(nearest) = config.set_max_readahead(MAX_READAHEAD) {
        let _ = config.set_max_readahead(nearest);
    }
    let _ = config.set_max_background(MAX_BACKGROUND);
    kernel
        .files
        .agree(agree_passthrough(&kernel.options, config));
}

fn agree_passthrough(options: &KernelOptions, config: &mut KernelConfig) -> Passthrough {
    let off = |reason: &str| Passthrough::Off {
        reason: reason.into(),
    };
    if let Some(reason) = options.no_passthrough {
        return off(reason);
    }
    if config
        .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
        .is_err()
        || config.set_max_stack_depth(1).is_err()
    {
        return off("needs Linux 6.9 or later");
    }
    Passthrough::On
}
