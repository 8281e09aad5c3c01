//! Which process is meant: a process id alone may have been given to another since.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process, named so that no later process can be taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start: u64,
    /// The boot in which it runs (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    pub fn own() -> std::io::Result<Self> {
        let pid = std::process::id();
        let start = start_time(pid)
            .ok_or_else(|| std::io::Error::other("/proc/self/stat is not readable"))?;
        Ok(Self {
            pid,
            start,
            boot: boot_id()?,
        })
    }

    /// Whether exactly this process still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot) && start_time(self.pid) == Some(self.start)
    }

    /// Resident memory in bytes; `None` when it is gone.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }
}

/// The effective capability set of this process has CAP_SYS_ADMIN (capabilities(7): 21).
pub(crate) fn is_admin() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0)
}

/// The start time of a process that is not a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may itself hold blanks and brackets.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // Field 22 is the 19th after the state, which is field 3.
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = ProcessId::own().expect("/proc");
        assert!(own.is_alive());
        let earlier = ProcessId {
            start: own.start + 1,
            ..own.clone()
        };
        assert!(!earlier.is_alive(), "same number, other process");
        let other_boot = ProcessId {
            boot: "another".into(),
            ..own.clone()
        };
        assert!(!other_boot.is_alive());
        assert!(own.resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn a_dead_process_is_dead_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let id = ProcessId {
            pid: child.id(),
            start: start_time(child.id()).expect("running"),
            boot: boot_id().expect("boot id"),
        };
        assert!(id.is_alive());
        child.kill().expect("kill");
        for _ in 0..200 {
            if !id.is_alive() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!id.is_alive(), "a zombie serves nobody");
        child.wait().expect("wait");
    }
}
