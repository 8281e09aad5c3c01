//! What keeps secrets in this process: no core dumps, no reading by others, no swap.

use std::io;

use rustix::process::Resource;
use rustix::thread::{CapabilitySet, capabilities};

/// What could be had of it.
#[derive(Debug)]
pub struct Hardened {
    /// Whether all of the process's memory is locked: it is never written to swap.
    pub whole_memory: Result<(), String>,
}

/// Forbids core dumps, and reading this process's memory to others of its user; locks all of its
/// memory where the system lets it. To be called before there is a secret.
///
/// # Errors
/// The system refuses one of the first two: it should not.
pub fn harden() -> io::Result<Hardened> {
    base::memory::close()?;
    Ok(Hardened {
        whole_memory: lock_everything(),
    })
}

/// All pages, those to come too. Only where no limit can make an allocation fail later.
fn lock_everything() -> Result<(), String> {
    let limit = rustix::process::getrlimit(Resource::Memlock).current;
    let may_all =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(limit), false) = (limit, may_all) {
        return Err(format!("the limit of locked memory is {limit} bytes"));
    }
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: it takes no pointer and changes no memory's content, only whether it may be swapped.
    #[allow(unsafe_code, reason = "a system call that no safe library of ours has")]
    let locked = unsafe { libc::mlockall(flags) };
    if locked == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().to_string())
    }
}

/// The size and alignment of a page of memory on the machines that we run on.
pub(crate) const PAGE: usize = 4096;

/// Something in pages of its own, which are not swapped while it lives.
pub(crate) struct Locked<T> {
    value: Box<T>,
    locked: bool,
}

impl<T> Locked<T> {
    /// `T` is aligned to a page, so that nothing else is on its pages.
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() == PAGE) };
        let value = Box::new(value);
        let locked = lock_pages(&*value);
        if let Err(error) = &locked {
            tracing::error!(
                %error,
                "master secrets may be written to swap: their memory cannot be locked; raise the limit of locked memory (LimitMEMLOCK=, ulimit -l)"
            );
        }
        Self {
            value,
            locked: locked.is_ok(),
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locked
    }
}

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> std::ops::DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

fn lock_pages<T>(value: &T) -> io::Result<()> {
    let (address, length) = (std::ptr::from_ref(value).cast_mut().cast(), size_of::<T>());
    // SAFETY: the range is that of a live value on pages of its own; only whether these are
    // swapped and dumped changes, not what is in them.
    #[allow(unsafe_code, reason = "system calls that no safe library of ours has")]
    let (locked, left_out) = unsafe {
        (
            libc::mlock(address, length),
            libc::madvise(address, length, libc::MADV_DONTDUMP),
        )
    };
    // Dumps are off altogether; this is for a kernel that is told otherwise.
    let _ = left_out;
    if locked == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[repr(C, align(4096))]
    struct OnePage([u8; PAGE]);

    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        let line = line.unwrap().trim().trim_end_matches(" kB");
        line.parse().unwrap()
    }

    #[test]
    fn a_page_of_secrets_is_locked() {
        let before = locked_kib();
        let page = Locked::new(OnePage([7; PAGE]));
        assert!(page.is_locked() && page.0[PAGE - 1] == 7);
        assert_eq!(locked_kib(), before + 4);
    }

    #[test]
    fn a_hardened_process_is_not_dumped() {
        harden().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
