//! Programs that map files of a mount, as databases do: a real kernel between.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::process::Command;
use std::time::Duration;

use mounting::{Site, eventually};

/// Maps `argv[1]` and stores into it before and after its descriptor is closed, with pauses
/// longer than an upload takes to begin. Python's own handle on the map's file is closed
/// too: only the mapping lives on.
const STORES_AFTER_CLOSE: &str = r#"
import ctypes, mmap, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 8192)
at = libc.mmap(None, 8192, 3, mmap.MAP_SHARED, fd, 0)
assert at not in (None, 2**64 - 1), ctypes.get_errno()
os.close(fd)
ctypes.memset(at, ord('1'), 4096)
time.sleep(6)
ctypes.memset(at + 4096, ord('2'), 4096)
assert libc.msync(at, 8192, 4) == 0
"#;

/// Stores twice into one page, while the page is not written back between.
const STORES_TWICE: &str = r#"
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 4096)
page = mmap.mmap(fd, 4096)
page[:] = b'1' * 4096
time.sleep(9)
page[:] = b'2' * 4096
time.sleep(2)
page.close()
os.close(fd)
"#;

#[test]
fn what_is_stored_through_a_mapping_reaches_the_bucket() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--profile fast");
    let programs = [("after-close", STORES_AFTER_CLOSE), ("twice", STORES_TWICE)];
    let running: Vec<_> = programs
        .iter()
        .map(|(name, text)| {
            let path = folder.join(name);
            Command::new("python3")
                .args(["-c", text])
                .arg(path)
                .spawn()
                .expect("python3")
        })
        .collect();
    for mut program in running {
        assert!(program.wait().unwrap().success());
    }
    let halves = [[b'1'; 4096], [b'2'; 4096]].concat();
    eventually(Duration::from_secs(30), "both in the bucket", || {
        site.object("after-close").as_ref() == Some(&halves)
            && site.object("twice").as_deref() == Some(&[b'2'; 4096][..])
    });
    eventually(Duration::from_secs(20), "nothing pending", || {
        site.status("work")["details"]["filesystem"]["pending_changes"] == 0
    });
    site.run("unmount {}", &folder).ok();
}
