//! How far the kernel reads ahead in files that are served by calls.
//!
//! The kernel starts every FUSE mount with 128 KiB and lets the file system only lower
//! that; the setting of the device itself can be raised by root (`/sys/class/bdi/*`,
//! Documentation/ABI/testing/sysfs-class-bdi). Larger requests cost fewer trips through
//! this process.

use std::fs;
use std::path::Path;

use crate::mountinfo;

const READ_AHEAD_KIB: &str = "4096";

/// Raises the read-ahead of what is mounted at `mountpoint`, where this process may.
pub(crate) fn raise(mountpoint: &Path) {
    let mounts = mountinfo::mounts().unwrap_or_default();
    let Some(mount) = mountinfo::at(&mounts, mountpoint) else {
        return;
    };
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    if let Err(error) = fs::write(&setting, READ_AHEAD_KIB) {
        tracing::debug!(setting, %error, "the kernel's read-ahead stays as it is");
    }
}
