//! moto: AWS's answers without AWS. It knows the calls, pages and codes of S3 and IAM; it
//! takes every key and judges no policy, so it proves nothing about who may do what.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::tools::{self, Tool};
use crate::{Error, ports};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Moto {
    _process: Process,
    address: SocketAddr,
    _data: TempDir,
}

impl Moto {
    /// Starts a server on a free port with nothing in it.
    ///
    /// # Errors
    /// [`Error::Missing`], or why it did not come up with the end of its log.
    pub fn start() -> Result<Self, Error> {
        let program = tools::find(Tool::MotoServer)?;
        let data = tempfile::Builder::new().prefix("moto-").tempdir();
        let data = data.map_err(Error::io("create a data folder"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let log = data.path().join("moto.log");
        let mut process = Process::start("moto_server", &program, &log, |command| {
            command.current_dir(data.path()).args([
                "-H",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
            ]);
        })?;
        process.wait_ready(READY_LIMIT, || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        })?;
        Ok(Self {
            _process: process,
            address,
            _data: data,
        })
    }

    /// `http://127.0.0.1:PORT`; any keys are taken.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
