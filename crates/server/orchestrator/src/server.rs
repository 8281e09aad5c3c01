//! Listening, TLS, connections, and the end in good order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A client has this long for the head of a request, or for TLS's handshake.
const HEAD: Duration = Duration::from_secs(10);

/// A client that takes no bytes for this long is gone (TCP_USER_TIMEOUT).
const SILENCE_MILLIS: u32 = 30_000;

/// More connections wait until others end.
const CONNECTIONS: usize = 10_000;

/// Requests under way get this long when the server stops: as long as a request may take.
const GRACE: Duration = crate::layers::PATIENCE;

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Tokens would cross the network in the open.
    #[error(
        "{0} can be reached from other machines, and there is no TLS\nhint: give --tls-certificate and --tls-key, listen on 127.0.0.1, or say --allow-remote if a proxy in front has TLS"
    )]
    Remote(SocketAddr),
    /// The system refuses.
    #[error(
        "cannot listen on {address}: {source}\nhint: choose another address with --listen; ports below 1024 need root"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{} cannot be used for TLS: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// An open port.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    /// An address beyond this machine without TLS and without `allow_remote`, or what the
    /// system says.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<&Tls>,
        allow_remote: bool,
    ) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() && tls.is_none() && !allow_remote {
            return Err(ListenError::Remote(address));
        }
        let tls = tls.map(acceptor).transpose()?;
        let wrong = |source| ListenError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        Ok(Self {
            socket,
            address,
            tls,
        })
    }

    /// Where it listens; the port that was taken, if any free one was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Serves until told to stop; then takes no more, lets requests under way end, and returns.
pub async fn serve(listener: Listener, router: Router, stop: CancellationToken) {
    let Listener { socket, tls, .. } = listener;
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&socket, &room) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            greet(stream, tls, router, stop).await;
            drop(place);
        });
    }
    drop(socket);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("requests under way were cut off");
    }
}

async fn accept(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            // Most likely out of file descriptors: let some close.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn greet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    // Small answers must not wait for a client's acknowledgement; a client that reads nothing
    // must not hold its connection. Neither can fail on a socket that was just accepted.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENCE_MILLIS);
    let Some(tls) = tls else {
        return converse(stream, router, stop).await;
    };
    match tokio::time::timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
        Err(_) => tracing::debug!("no TLS connection came about in time"),
    }
}

async fn converse<S>(stream: S, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let service = TowerToHyperService::new(router);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let wrong = |path: &Path, reason: String| ListenError::Tls {
        path: path.to_owned(),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&tls.certificate)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?
        .collect();
    let chain = chain.map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key);
    let key = key.map_err(|error| wrong(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.key, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
