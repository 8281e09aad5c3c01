//! The asking side.

use std::path::PathBuf;
use std::time::Duration;

use filesystem::Status;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

use super::address::Address;
use super::{Answer, MountStatus, Outcome, Request};
use crate::error::MountError;
use crate::table::MountRecord;

/// A mount answers from memory; one that takes longer does not answer at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Speaks with one running mount.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    mountpoint: PathBuf,
}

impl Client {
    /// For the mount of this record.
    pub fn new(record: &MountRecord) -> Self {
        Self {
            socket: record.socket.clone(),
            mountpoint: record.mountpoint.clone(),
        }
    }

    /// How the mount is.
    ///
    /// # Errors
    /// [`MountError::Unresponsive`] when it does not answer within five seconds.
    pub async fn status(&self) -> Result<MountStatus, MountError> {
        let answer = async {
            let mut answers = self.ask(&Request::Status).await?;
            self.next(&mut answers).await
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Answer::Status(status))) => Ok(*status),
            Ok(Ok(Answer::Failed(error)) | Err(error)) => Err(error),
            Ok(Ok(other)) => Err(self.unresponsive(format!("an odd answer: {other:?}"))),
            Err(_) => Err(self.unresponsive("no answer in time")),
        }
    }

    /// Uploads everything that waits. Dropping the future leaves the uploads going on.
    ///
    /// # Errors
    /// [`MountError::LeftPending`] after `stall` without progress.
    pub async fn flush(
        &self,
        stall: Option<Duration>,
        progress: impl FnMut(&Status),
    ) -> Result<Outcome, MountError> {
        let stall = stall.map(|stall| stall.as_secs());
        self.long(&Request::Flush { stall }, progress).await
    }

    /// Says that objects changed in the bucket: the mount looks at them now instead of within
    /// the profile's time. Returns when it has begun to.
    ///
    /// # Errors
    /// [`MountError::Unresponsive`]; keys that are none are passed over.
    pub async fn refresh(&self, keys: Vec<String>) -> Result<(), MountError> {
        self.long(&Request::Refresh { keys }, |_| {})
            .await
            .map(drop)
    }

    /// Unmounts, after uploading everything when `wait` is set; returns when the process
    /// is done. Dropping the future before the folder is unmounted leaves it mounted.
    ///
    /// # Errors
    /// [`MountError::Busy`], [`MountError::LeftPending`]: the folder is still mounted then.
    pub async fn unmount(
        &self,
        wait: bool,
        lazy: bool,
        stall: Option<Duration>,
        progress: impl FnMut(&Status),
    ) -> Result<Outcome, MountError> {
        let stall = stall.map(|stall| stall.as_secs());
        self.long(&Request::Unmount { wait, lazy, stall }, progress)
            .await
    }

    async fn long(
        &self,
        request: &Request,
        mut progress: impl FnMut(&Status),
    ) -> Result<Outcome, MountError> {
        let mut answers = self.ask(request).await?;
        loop {
            match self.next(&mut answers).await? {
                Answer::Progress(status) => progress(&status),
                Answer::Done(outcome) => {
                    // The end of the connection is the end of the process: until then it
                    // holds the workspace.
                    if matches!(request, Request::Unmount { .. }) {
                        let _ = timeout(PATIENCE, answers.next_line()).await;
                    }
                    return Ok(outcome);
                }
                Answer::Failed(error) => return Err(error),
                other => return Err(self.unresponsive(format!("an odd answer: {other:?}"))),
            }
        }
    }

    async fn ask(&self, request: &Request) -> Result<Lines<BufReader<OwnedReadHalf>>, MountError> {
        let fail = |e: std::io::Error| self.unresponsive(e);
        let address = Address::new(&self.socket).map_err(fail)?;
        let stream = UnixStream::connect(address.path()).await.map_err(fail)?;
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(request).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        write.write_all(&line).await.map_err(fail)?;
        // The write half stays open: its end would tell the mount that nobody waits.
        write.forget();
        Ok(BufReader::new(read).lines())
    }

    async fn next(
        &self,
        answers: &mut Lines<BufReader<OwnedReadHalf>>,
    ) -> Result<Answer, MountError> {
        let line = answers
            .next_line()
            .await
            .map_err(|e| self.unresponsive(e))?;
        let line = line.ok_or_else(|| self.unresponsive("its process ended"))?;
        serde_json::from_str(&line).map_err(|e| self.unresponsive(e))
    }

    fn unresponsive(&self, reason: impl std::fmt::Display) -> MountError {
        MountError::Unresponsive {
            path: self.mountpoint.clone(),
            reason: reason.to_string(),
        }
    }
}
