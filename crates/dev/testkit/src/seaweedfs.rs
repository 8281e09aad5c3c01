//! SeaweedFS (`weed mini`): master, volume, filer and S3 in one process, with SigV4, IAM
//! and atomic conditional PUT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::tools::{self, Tool};
use crate::{ACCESS_KEY_ID, Error, REGION, SECRET_ACCESS_KEY, ports, s3};

/// A cold start takes about two seconds on a quiet machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Another process may take a port between the look and the bind: try with others.
const ATTEMPTS: usize = 3;

/// How a server is started.
#[derive(Debug, Default)]
pub struct Options {
    /// Where data goes, and stays after the server ended; `None` for a folder that is
    /// removed with it.
    pub data: Option<PathBuf>,
    /// An IAM configuration (`-s3.iam.config`), written to a file beside the data.
    pub iam: Option<serde_json::Value>,
}

/// A running SeaweedFS; dropping it kills it.
#[derive(Debug)]
pub struct SeaweedFs {
    process: Process,
    weed: PathBuf,
    data: PathBuf,
    ports: Ports,
    iam: Option<PathBuf>,
    /// Removed after the process is gone (fields drop in order).
    _temporary: Option<TempDir>,
}

impl SeaweedFs {
    /// Starts a server on free ports with a data folder of its own and waits until it
    /// answers S3.
    ///
    /// # Errors
    /// [`Error::Missing`], or why it did not come up with the end of its log.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Options::default())
    }

    /// Starts a server as the options say.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: Options) -> Result<Self, Error> {
        let weed = tools::find(Tool::Weed)?;
        let (data, temporary) = data_folder(options.data)?;
        let iam = options
            .iam
            .map(|value| write_iam(&data, &value))
            .transpose()?;
        let mut attempt = 1;
        loop {
            let ports = Ports::pick()?;
            match launch(&weed, &data, &ports, iam.as_deref()) {
                Ok(process) => {
                    let _temporary = temporary;
                    return Ok(Self {
                        process,
                        weed,
                        data,
                        ports,
                        iam,
                        _temporary,
                    });
                }
                Err(Error::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where S3 is answered.
    pub fn address(&self) -> SocketAddr {
        self.ports.s3_address()
    }

    /// The administrator's access key id.
    pub fn access_key_id(&self) -> &'static str {
        ACCESS_KEY_ID
    }

    /// The administrator's secret.
    pub fn secret_access_key(&self) -> &'static str {
        SECRET_ACCESS_KEY
    }

    /// The region that it answers to.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Makes a bucket (names of at least three characters).
    ///
    /// # Errors
    /// [`Error::Store`] with the server's words.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        s3::create_bucket(&self.endpoint(), name)
    }

    /// Stops the process where it stands: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Ends the server in good order; its port then refuses connections.
    pub fn stop(&mut self) {
        self.process.stop(Duration::from_secs(15));
    }

    /// Starts it again after [`stop`](Self::stop), on the same port with the same data.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.process = launch(&self.weed, &self.data, &self.ports, self.iam.as_deref())?;
        Ok(())
    }
}

/// Every port that `weed mini` listens on, each with its gRPC twin 10,000 above.
#[derive(Debug)]
struct Ports {
    master: u16,
    volume: u16,
    filer: u16,
    s3: u16,
    admin: u16,
}

impl Ports {
    fn pick() -> Result<Self, Error> {
        let mut free = ports::free_pairs(5)?.into_iter();
        let mut next = || free.next().ok_or(Error::NoPorts);
        let (master, volume, filer) = (next()?, next()?, next()?);
        Ok(Self {
            master,
            volume,
            filer,
            s3: next()?,
            admin: next()?,
        })
    }

    fn s3_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.s3))
    }
}

fn launch(weed: &Path, data: &Path, ports: &Ports, iam: Option<&Path>) -> Result<Process, Error> {
    let log = data.join("weed.log");
    let mut process = Process::start("weed", weed, &log, |command| {
        arguments(command, data, ports, iam);
    })?;
    let address = ports.s3_address();
    process.wait_ready(READY_LIMIT, || answers(address))?;
    Ok(process)
}

fn arguments(command: &mut Command, data: &Path, ports: &Ports, iam: Option<&Path>) {
    command
        .current_dir(data)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .args([
            "mini",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
        ])
        .args(["-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
        // Nothing leaves the machine, and an unknown bucket is an error.
        .args(["-master.telemetry=false", "-s3.autoCreateBucket=false"])
        .arg(format!("-dir={}", data.display()))
        .arg(format!(
            "-filer.localSocket={}",
            data.join("filer.sock").display()
        ))
        .arg(format!(
            "-s3.localSocket={}",
            data.join("s3.sock").display()
        ));
    let named = [
        ("master", ports.master),
        ("volume", ports.volume),
        ("filer", ports.filer),
        ("s3", ports.s3),
        ("admin", ports.admin),
    ];
    for (part, port) in named {
        command.arg(format!("-{part}.port={port}"));
    }
    if let Some(iam) = iam {
        command
            .arg(format!("-s3.iam.config={}", iam.display()))
            .arg("-s3.iam.readOnly=false");
    }
}

/// Ready is when S3 itself answers: `/status` does so only after the filer is reached.
fn answers(address: SocketAddr) -> bool {
    status(address).is_ok_and(|line| line.starts_with("HTTP/1.1 200"))
}

fn status(address: SocketAddr) -> std::io::Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64).read_to_string(&mut answer)?;
    Ok(answer)
}

fn data_folder(kept: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), Error> {
    match kept {
        Some(path) => {
            let made = std::fs::create_dir_all(&path);
            made.map_err(Error::io(format!("create {}", path.display())))?;
            Ok((path, None))
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("weed-").tempdir();
            let temporary = temporary.map_err(Error::io("create a data folder"))?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

fn write_iam(data: &Path, value: &serde_json::Value) -> Result<PathBuf, Error> {
    let path = data.join("iam.json");
    let written = std::fs::write(&path, value.to_string());
    written.map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}
