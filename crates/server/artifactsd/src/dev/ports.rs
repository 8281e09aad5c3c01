//! Where the roles listen: free ports at the first start, the same ones at every later start, since
//! clients are told addresses and tokens name them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// The ports of one data folder.
pub(super) struct Ports {
    file: PathBuf,
    taken: BTreeMap<String, u16>,
}

impl Ports {
    /// Reads what an earlier start has chosen.
    pub(super) fn open(file: PathBuf) -> Result<Self, String> {
        let taken = match std::fs::read_to_string(&file) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        Ok(Self { file, taken })
    }

    /// The address of a listener on this machine.
    pub(super) fn of(&mut self, name: &str) -> Result<SocketAddr, String> {
        let port = match self.taken.get(name) {
            Some(port) => *port,
            None => self.choose(name)?,
        };
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn choose(&mut self, name: &str) -> Result<u16, String> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let mut port = free().map_err(|e| format!("no port is free: {e}"))?.port();
        while self.taken.values().any(|taken| *taken == port) {
            port = free().map_err(|e| format!("no port is free: {e}"))?.port();
        }
        self.taken.insert(name.to_owned(), port);
        let text = serde_json::to_string(&self.taken).map_err(|e| e.to_string())?;
        std::fs::write(&self.file, text).map_err(|e| format!("{}: {e}", self.file.display()))?;
        Ok(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_once_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let mut ports = Ports::open(file.clone()).unwrap();
        let (broker, worker) = (ports.of("broker").unwrap(), ports.of("worker").unwrap());
        assert_ne!(broker, worker);
        let mut again = Ports::open(file.clone()).unwrap();
        assert_eq!(
            (again.of("broker"), again.of("worker")),
            (Ok(broker), Ok(worker))
        );
        std::fs::write(&file, "{").unwrap();
        assert!(Ports::open(file).is_err());
    }
}
