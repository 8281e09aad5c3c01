//! The socket: one request and its answer for each connection.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credentials::{Error, Folder};
use secrets::sidecar::{Answer, Request, receive, send};
use secrets::{Kind, Result, SecretError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::daemon::Daemon;
use crate::peer::Peer;

/// By when a request must have come, and an answer been taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests of the daemon's own user at one time.
const MOST: usize = 256;
/// Requests of all other users together.
const MOST_OF_OTHERS: usize = 64;
/// A socket's path, with its end (unix(7): `sun_path` has 108 bytes).
const LONGEST_PATH: usize = 107;
/// How long those who ask at the end have.
const GRACE: Duration = Duration::from_secs(5);

/// A socket that listens; its file goes when this is dropped.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is left is taken over by the next daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the socket. `others` opens it to every user, of whom the policy then lets in those that
/// it names; else it is its owner's alone.
///
/// # Errors
/// A daemon listens there already, or the system refuses.
pub async fn bind(path: &Path, others: bool) -> Result<Socket> {
    let io =
        |action: &'static str, e: std::io::Error| SecretError::from(Error::io(action, path, e));
    if path.as_os_str().as_bytes().len() > LONGEST_PATH - ".new".len() {
        let text = format!("{} is too long for a socket", path.display());
        let hint = "name a shorter one with --socket, or set XDG_RUNTIME_DIR";
        return Err(SecretError::new(Kind::Usage, text, hint));
    }
    if let Some(parent) = path.parent() {
        Folder::create(parent)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        let text = format!("a daemon listens at {} already", path.display());
        return Err(SecretError::new(
            Kind::Conflict,
            text,
            "run: artifacts daemon stop",
        ));
    }
    // It gets its name once only the right users may open it.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(|e| io("create", e))?;
    let mode = if others { 0o666 } else { 0o600 };
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&fresh, permissions).map_err(|e| io("protect", e))?;
    std::fs::rename(&fresh, path).map_err(|e| io("create", e))?;
    Ok(Socket {
        listener,
        path: path.to_owned(),
    })
}

/// Answers until the daemon ends.
pub async fn serve(socket: Socket, daemon: Arc<Daemon>) {
    let own = Arc::new(Semaphore::new(MOST));
    let others = Arc::new(Semaphore::new(MOST_OF_OTHERS));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = daemon.end().cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Others do not take the own user's places: theirs are few, and who finds none goes.
        let is_own = stream
            .peer_cred()
            .is_ok_and(|peer| peer.uid() == daemon.me());
        let place = match is_own {
            true => own.clone().acquire_owned().await.ok(),
            false => others.clone().try_acquire_owned().ok(),
        };
        let Some(place) = place else {
            tracing::warn!("a connection of another user was not taken: there are too many");
            continue;
        };
        let daemon = daemon.clone();
        tasks.spawn(async move {
            if let Err(error) = one(stream, &daemon).await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    tasks.close();
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
}

async fn one(mut stream: UnixStream, daemon: &Daemon) -> std::io::Result<()> {
    let peer = Peer::of(&stream)?;
    if let Err(refusal) = daemon.admit(&peer) {
        return send(&mut stream, &Answer::Failed(refusal)).await;
    }
    let request = tokio::time::timeout(PATIENCE, receive::<Request>(&mut stream)).await;
    let answer = match request {
        Ok(Ok(request)) => daemon.answer(&peer, request).await,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Answer::Failed(SecretError::new(
                Kind::Usage,
                format!("the request is {error}"),
                "use the version of artifacts that the daemon has: artifacts daemon stop, then start",
            ))
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    let sent = tokio::time::timeout(PATIENCE, send(&mut stream, &answer)).await;
    sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
