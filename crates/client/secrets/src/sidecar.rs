//! How a program speaks with this machine's daemon: one line of JSON each way, over a socket
//! that only its user may open.

use std::io;
use std::path::PathBuf;

use api::Secret;
use api::vault::{FetchedCredential, ListedCredential, StoredCredential, TornDown};
use credentials::Paths;
use model::{Actor, DeviceId, ServiceName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::error::SecretError;

/// The longest line: a secret in base64, and some room.
pub const LONGEST_LINE: usize = 128 * 1024;

/// What a daemon is asked.
#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Store a secret.
    Store {
        /// Whose.
        service: ServiceName,
        /// The value, base64.
        plaintext: Secret,
        /// Only at this generation.
        expected_generation: Option<u64>,
    },
    /// Fetch one.
    Fetch {
        /// Whose.
        service: ServiceName,
        /// Also an older one than was seen before.
        #[serde(default)]
        accept_older: bool,
    },
    /// List their names.
    List,
    /// Delete all.
    Teardown {
        /// An agent's label; none for the operator's own.
        label: Option<String>,
    },
    /// Say how the daemon is.
    Status,
    /// End the daemon.
    Stop,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To store.
    Stored(StoredCredential),
    /// To fetch.
    Fetched(FetchedCredential),
    /// To list.
    Listed(Vec<ListedCredential>),
    /// To teardown.
    TornDown(TornDown),
    /// To status.
    Status(DaemonStatus),
    /// To stop: it ends.
    Stopping,
    /// To any.
    Failed(SecretError),
}

/// How a daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process.
    pub pid: u32,
    /// The broker.
    pub broker: String,
    /// The worker.
    pub worker: String,
    /// Who is logged in; none where nobody is.
    pub actor: Option<Actor>,
    /// Whose actor that is.
    pub operator: Option<Actor>,
    /// The machine's device.
    pub device: Option<DeviceId>,
    /// Whether the stream of events stands, by its heartbeats.
    pub connected: bool,
    /// Why not, if not.
    pub trouble: Option<String>,
    /// Seconds since the broker was heard last; none where it never was.
    pub heard_seconds_ago: Option<u64>,
    /// The last event that was taken in.
    pub last_event_id: Option<String>,
    /// Capabilities that are held and still count.
    pub capabilities: usize,
    /// Whether a policy file narrows who gets what.
    pub has_policy: bool,
}

/// The daemon's socket: below `XDG_RUNTIME_DIR` where there is one, else in the state folder.
pub fn socket(paths: &Paths) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute());
    match runtime {
        Some(runtime) => runtime.join("artifacts").join("daemon.sock"),
        None => paths.state().join("daemon.sock"),
    }
}

/// Sends one line.
///
/// # Errors
/// The socket's.
pub async fn send(stream: &mut UnixStream, line: &impl Serialize) -> io::Result<()> {
    // A buffer that does not grow, so that no half of a secret stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1));
    serde_json::to_writer(&mut *bytes, line)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await
}

/// Receives one line.
///
/// # Errors
/// The socket's; `InvalidData` for a line that is cut off, too long, or of another form.
pub async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let refuse = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = Zeroizing::new(vec![0; LONGEST_LINE + 1]);
    let mut length = 0;
    while !line[..length].ends_with(b"\n") {
        if length > LONGEST_LINE {
            return Err(refuse("a line that is too long"));
        }
        match stream.read(&mut line[length..]).await? {
            0 => return Err(refuse("a line that is cut off")),
            read => length += read,
        }
    }
    // The words of serde may quote the value.
    serde_json::from_slice(&line[..length]).map_err(|_| refuse("a line of another form"))
}
