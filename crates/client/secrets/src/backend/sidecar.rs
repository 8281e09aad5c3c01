//! This machine's daemon is asked: it holds the login, the device's key and capabilities, and
//! asks a worker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::vault::{ListedCredential, StoredCredential, TornDown};
use async_trait::async_trait;
use model::ServiceName;
use tokio::net::UnixStream;

use crate::error::{Kind, Result, SecretError};
use crate::sidecar::{self, Answer, DaemonStatus, Request};
use crate::store::{ReadSecret, SecretStore};
use crate::value::SecretValue;

/// The daemon asks a worker, which may take its own time.
const PATIENCE: Duration = Duration::from_secs(70);

/// The secrets as the daemon shows them.
pub struct SidecarStore {
    socket: PathBuf,
}

impl SidecarStore {
    /// The daemon at a socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// It does not run, or is another user's.
    pub async fn status(&self) -> Result<DaemonStatus> {
        match self.ask(&Request::Status).await? {
            Answer::Status(status) => Ok(status),
            _ => Err(self.strange()),
        }
    }

    /// Ends the daemon.
    ///
    /// # Errors
    /// It does not run, or does not let this user.
    pub async fn stop(&self) -> Result<()> {
        match self.ask(&Request::Stop).await? {
            Answer::Stopping => Ok(()),
            _ => Err(self.strange()),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let answer = asked.map_err(|_| self.silent("it gave no answer in time"))??;
        match answer {
            Answer::Failed(error) => Err(error),
            answer => Ok(answer),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Answer> {
        let stream = UnixStream::connect(&self.socket).await;
        let mut stream = stream.map_err(|e| not_running(&self.socket, &e))?;
        self.check_owner(&stream)?;
        let broken = |e: std::io::Error| self.silent(&e.to_string());
        let sent = sidecar::send(&mut stream, request).await;
        // Who is not served is told so before anything is read, which may break off the sending.
        match (sidecar::receive(&mut stream).await, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(broken(error)),
        }
    }

    /// A secret is not handed to a socket that somebody else has put there.
    fn check_owner(&self, stream: &UnixStream) -> Result<()> {
        let peer = stream
            .peer_cred()
            .map_err(|e| self.silent(&e.to_string()))?;
        let me = rustix::process::geteuid().as_raw();
        if peer.uid() == me || peer.uid() == 0 {
            return Ok(());
        }
        let text = format!(
            "{} is served by user {}, not by you (user {me})",
            self.socket.display(),
            peer.uid()
        );
        let hint = "remove the socket, then run: artifacts daemon start";
        Err(SecretError::new(Kind::Denied, text, hint))
    }

    fn silent(&self, why: &str) -> SecretError {
        let text = format!(
            "the daemon at {} gives no answer that counts: {why}",
            self.socket.display()
        );
        SecretError::new(Kind::Temporary, text, "see artifacts daemon status")
    }

    fn strange(&self) -> SecretError {
        let text = format!(
            "what answers at {} is another version",
            self.socket.display()
        );
        let hint = "run: artifacts daemon stop, then artifacts daemon start";
        SecretError::new(Kind::Failed, text, hint)
    }
}

fn not_running(socket: &Path, error: &std::io::Error) -> SecretError {
    let text = format!("no daemon answers at {}: {error}", socket.display());
    let hint = "run: artifacts daemon start, or add --credential-backend http or s3";
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Temporary,
    };
    SecretError::new(kind, text, hint)
}

#[async_trait]
impl SecretStore for SidecarStore {
    async fn store(
        &self,
        service: &ServiceName,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential> {
        let request = Request::Store {
            service: service.clone(),
            plaintext: value.to_wire(),
            expected_generation: expected,
        };
        match self.ask(&request).await? {
            Answer::Stored(stored) => Ok(stored),
            _ => Err(self.strange()),
        }
    }

    async fn read(&self, service: &ServiceName, accept_older: bool) -> Result<ReadSecret> {
        let request = Request::Fetch {
            service: service.clone(),
            accept_older,
        };
        let Answer::Fetched(fetched) = self.ask(&request).await? else {
            return Err(self.strange());
        };
        let value = SecretValue::from_wire(&fetched.plaintext);
        Ok(ReadSecret {
            value: value.ok_or_else(|| self.strange())?,
            version: fetched.version,
            epoch: fetched.epoch,
            generation: fetched.generation,
        })
    }

    async fn list(&self) -> Result<Vec<ListedCredential>> {
        match self.ask(&Request::List).await? {
            Answer::Listed(listed) => Ok(listed),
            _ => Err(self.strange()),
        }
    }

    async fn teardown(&self, label: Option<&str>) -> Result<TornDown> {
        let request = Request::Teardown {
            label: label.map(str::to_owned),
        };
        match self.ask(&request).await? {
            Answer::TornDown(done) => Ok(done),
            _ => Err(self.strange()),
        }
    }
}
