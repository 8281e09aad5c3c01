//! The answering side.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filesystem::Status;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::address::Address;
use super::{Answer, Outcome, Request};
use crate::error::MountError;
use crate::mounted::Mount;

/// The longest request that is read.
const MAX_REQUEST: u64 = 64 << 10;

/// A bound socket, ready to be served.
pub(crate) struct Server {
    listener: UnixListener,
}

impl Server {
    /// Binds the socket, for its owner alone.
    pub(crate) fn bind(socket: &Path) -> Result<Self, MountError> {
        let fail = |e: io::Error| MountError::local(format!("listen on {}", socket.display()), e);
        // A leftover of a process that had our number before.
        if let Err(error) = std::fs::remove_file(socket)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(fail(error));
        }
        let address = Address::new(socket).map_err(fail)?;
        let listener = UnixListener::bind(address.path()).map_err(fail)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        Ok(Self { listener })
    }

    /// Serves until the mount has ended and its last answers are written.
    pub(crate) async fn serve(self, mount: Arc<Mount>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, mount.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = mount.finished() => break,
            }
        }
        let rest = async { while connections.join_next().await.is_some() {} };
        // A peer that does not read its answer does not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    }
}

async fn connection(stream: UnixStream, mount: Arc<Mount>) {
    if !is_ours(&stream) {
        return;
    }
    let (read, write) = stream.into_split();
    let (answers, queue) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_answers(write, queue));
    let mut read = BufReader::new(read);
    let request = read_request(&mut read).await;
    match request {
        Ok(request) => tokio::select! {
            () = handle(request, &mount, &answers) => {}
            // Nobody waits any more: what was begun for the peer's sake ends.
            () = hang_up(&mut read) => {}
        },
        Err(reason) => {
            let error = MountError::local("read the request", reason);
            let _ = answers.send(Answer::Failed(error));
        }
    }
    drop(answers);
    // A writer that fails has lost its peer.
    let _ = writer.await;
}

/// The same user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn read_request(read: &mut BufReader<OwnedReadHalf>) -> Result<Request, String> {
    let mut line = String::new();
    read.take(MAX_REQUEST)
        .read_line(&mut line)
        .await
        .map_err(|e| e.to_string())?;
    serde_json::from_str(&line).map_err(|e| e.to_string())
}

async fn hang_up(read: &mut BufReader<OwnedReadHalf>) {
    let mut byte = [0];
    while matches!(read.read(&mut byte).await, Ok(1..)) {}
}

async fn write_answers(mut write: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Answer>) {
    while let Some(answer) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&answer) else {
            continue;
        };
        line.push(b'\n');
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn handle(request: Request, mount: &Mount, answers: &mpsc::UnboundedSender<Answer>) {
    // A peer that has gone is noticed by the reader.
    let mut progress = |status: &Status| {
        let _ = answers.send(Answer::Progress(status.clone()));
    };
    let result: Result<Outcome, MountError> = match request {
        Request::Status => {
            let _ = answers.send(Answer::Status(Box::new(mount.status())));
            return;
        }
        Request::Flush { stall } => {
            mount
                .drain(stall.map(Duration::from_secs), &mut progress)
                .await
        }
        Request::Refresh { keys } => Ok(mount.refresh(&keys)),
        Request::Unmount { wait, lazy, stall } => {
            mount
                .unmount(wait, lazy, stall.map(Duration::from_secs), &mut progress)
                .await
        }
    };
    let _ = answers.send(match result {
        Ok(outcome) => Answer::Done(outcome),
        Err(error) => Answer::Failed(error),
    });
}
