//! Who is at the other end of the socket.

use std::path::PathBuf;

use tokio::net::UnixStream;

/// A process that asks, as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// The program that it runs; none where that cannot be found out.
    ///
    /// `artifacts` itself hides its file, as it does its memory; then this is the program that
    /// has started it. It narrows what honest programs get by mistake: one user's programs can
    /// pretend to be each other.
    pub program: Option<PathBuf>,
}

impl Peer {
    /// Of a connection (SO_PEERCRED).
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let peer = stream.peer_cred()?;
        Ok(Self {
            uid: peer.uid(),
            program: peer.pid().and_then(program),
        })
    }
}

fn program(pid: i32) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let file = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    match file(pid) {
        Some(file) if Some(&file) != own.as_ref() => Some(file),
        _ => file(parent(pid)?),
    }
}

/// Field 4 of `/proc/PID/stat`, which every user may read (proc_pid_stat(5)).
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may itself hold blanks and brackets.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    fields.nth(1)?.parse().ok()
}
