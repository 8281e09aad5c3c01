//! The JuiceFS S3 gateway: a server that accepts conditional writes and ignores the
//! condition, which is what the capability probe must find out.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::tools::{self, Tool};
use crate::{ACCESS_KEY_ID, Error, SECRET_ACCESS_KEY, ports, s3};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    _process: Process,
    address: SocketAddr,
    _data: TempDir,
}

impl Gateway {
    /// Formats a volume on a local folder with its metadata in SQLite and serves it.
    ///
    /// # Errors
    /// [`Error::Missing`], or why it did not come up with the end of its log.
    pub fn start() -> Result<Self, Error> {
        let juicefs = tools::find(Tool::Juicefs)?;
        let data = tempfile::Builder::new().prefix("juicefs-").tempdir();
        let data = data.map_err(Error::io("create a data folder"))?;
        let meta = format!("sqlite3://{}", data.path().join("meta.db").display());
        format_volume(&juicefs, data.path(), &meta)?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let process = serve(&juicefs, data.path(), &meta, address)?;
        Ok(Self {
            _process: process,
            address,
            _data: data,
        })
    }

    /// `http://127.0.0.1:PORT`; the keys are [`ACCESS_KEY_ID`] and [`SECRET_ACCESS_KEY`].
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`Error::Store`] with the server's words.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        s3::create_bucket(&self.endpoint(), name)
    }
}

fn format_volume(juicefs: &PathBuf, data: &Path, meta: &str) -> Result<(), Error> {
    // JuiceFS joins bucket and name by plain concatenation: the slash at the end matters.
    let bucket = format!("{}/", data.join("blocks").display());
    let output = Command::new(juicefs)
        .args([
            "--no-agent",
            "format",
            "--storage",
            "file",
            "--bucket",
            &bucket,
        ])
        .args(["--trash-days", "0", meta, "gateway"])
        .output()
        .map_err(Error::io("start juicefs format"))?;
    if output.status.success() {
        return Ok(());
    }
    let cause = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Store {
        what: "juicefs format".to_owned(),
        cause,
    })
}

fn serve(juicefs: &Path, data: &Path, meta: &str, address: SocketAddr) -> Result<Process, Error> {
    let log = data.join("gateway.out");
    let mut process = Process::start("juicefs", juicefs, &log, |command| {
        command
            .env("MINIO_ROOT_USER", ACCESS_KEY_ID)
            .env("MINIO_ROOT_PASSWORD", SECRET_ACCESS_KEY)
            .args([
                "--no-agent",
                "gateway",
                "--multi-buckets",
                "--keep-etag",
                "--object-tag",
            ])
            .args([
                "--object-meta",
                "--no-banner",
                "--no-usage-report",
                "--backup-meta",
                "0",
            ])
            .args(["--cache-dir", &data.join("cache").display().to_string()])
            .args(["--log", &data.join("gateway.log").display().to_string()])
            .args([meta, &address.to_string()]);
    })?;
    process.wait_ready(READY_LIMIT, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })?;
    Ok(process)
}
