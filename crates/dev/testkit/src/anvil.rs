//! anvil, a real Ethereum chain on one machine: it makes a block for each transaction.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::tools::{self, Tool};
use crate::{Error, ports};

/// A cold start takes less than a second on a quiet machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The chain's number, unless another is wished for.
pub const CHAIN_ID: u64 = 31337;

/// The keys of the first accounts, which every anvil has and gives its currency to. They are in
/// its documentation, so they are no secrets.
pub const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// A running chain; dropping it kills it.
#[derive(Debug)]
pub struct Anvil {
    process: Process,
    address: SocketAddr,
    _data: TempDir,
}

impl Anvil {
    /// Starts a chain on a free port.
    ///
    /// # Errors
    /// [`Error::Missing`], or why it did not come up with the end of its log.
    pub fn start() -> Result<Self, Error> {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        Self::start_on(address, CHAIN_ID)
    }

    /// Starts a chain of this number there.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(address: SocketAddr, chain_id: u64) -> Result<Self, Error> {
        let program = tools::find(Tool::Anvil)?;
        let data = tempfile::Builder::new().prefix("anvil-").tempdir();
        let data = data.map_err(Error::io("create a data folder"))?;
        let log = data.path().join("anvil.log");
        let mut process = Process::start("anvil", &program, &log, |command| {
            command
                .current_dir(data.path())
                // It would keep a folder there.
                .env("HOME", data.path())
                .args(["--host", "127.0.0.1", "--silent"])
                .args(["--port", &address.port().to_string()])
                .args(["--chain-id", &chain_id.to_string()]);
        })?;
        process.wait_ready(READY_LIMIT, || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        })?;
        Ok(Self {
            process,
            address,
            _data: data,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it where it stands: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills it. What was on the chain is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
