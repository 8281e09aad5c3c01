//! Listening, TLS, connections, and the end in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::clock::SystemClock;
use crate::layers::PATIENCE;
use crate::limits::{Share, Shares};
use crate::peer::Connection;
use crate::tls::{Acceptor, Tls, TlsError};

/// A client has this long for the head of a request, or for TLS's handshake.
const HEAD: Duration = Duration::from_secs(10);

/// A client that takes no bytes for this long is gone (TCP_USER_TIMEOUT).
const SILENCE_MILLIS: u32 = 30_000;

/// More connections wait until others end.
const CONNECTIONS: usize = 10_000;

/// What one client may have of these, so that it alone locks nobody out.
const OF_ONE: usize = CONNECTIONS / 4;

/// Requests under way get this long when the server stops: as long as a request may take.
const GRACE: Duration = PATIENCE;

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
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An open port.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Acceptor>>,
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
        let tls = tls.map(Acceptor::new).transpose()?.map(Arc::new);
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
    let shares = Shares::new(OF_ONE);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&socket, &room) => accepted,
        };
        let Some((stream, address, place)) = accepted else {
            continue;
        };
        let Some(share) = share(&shares, address, tls.is_some()) else {
            tracing::debug!(%address, "a client has too many connections");
            continue;
        };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            greet(stream, address, tls, router, stop).await;
            drop((place, share));
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

/// One connection more of this client's, unless it has too many.
fn share(shares: &Arc<Shares>, address: SocketAddr, has_tls: bool) -> Option<Option<Share>> {
    let peer = Connection::plain(address, has_tls);
    let Some(key) = peer.peer().own_key() else {
        return Some(None);
    };
    let mut share = shares.of(key);
    share.grow(1).then_some(Some(share))
}

async fn accept(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
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
    address: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    router: Router,
    stop: CancellationToken,
) {
    // Small answers must not wait for a client's acknowledgement; a client that reads nothing
    // must not hold its connection. Neither can fail on a socket that was just accepted.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENCE_MILLIS);
    let Some(tls) = tls else {
        return converse(stream, Connection::plain(address, false), router, stop).await;
    };
    match tokio::time::timeout(HEAD, tls.current().accept(stream)).await {
        Ok(Ok(stream)) => {
            let peer = identify(&stream, address, &tls);
            converse(stream, peer, router, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
        Err(_) => tracing::debug!("no TLS connection came about in time"),
    }
}

fn identify(stream: &TlsStream<TcpStream>, address: SocketAddr, tls: &Acceptor) -> Connection {
    let shown = stream.get_ref().1.peer_certificates();
    match (shown.and_then(<[_]>::first), tls.trust_domain()) {
        (Some(certificate), Some(domain)) => Connection::mutual(address, certificate, domain),
        _ => Connection::plain(address, true),
    }
}

async fn converse<S>(stream: S, peer: Connection, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let service = service_fn(move |mut request: Request<Incoming>| {
        peer.mark(&mut request, &SystemClock);
        router.clone().oneshot(request)
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_take_all_connections() {
        let shares = Shares::new(2);
        let enter = |address: &str, has_tls| share(&shares, address.parse().unwrap(), has_tls);
        let first = enter("[2001:db8::1]:1", true).unwrap();
        let _second = enter("[2001:db8::2]:1", true).unwrap();
        assert!(enter("[2001:db8::3]:1", true).is_none(), "of the same /64");
        assert!(enter("192.0.2.1:1", true).is_some());
        drop(first);
        assert!(enter("[2001:db8::3]:1", true).is_some());
        // Behind a proxy they all come from its address.
        let many: Vec<_> = (0..5).map(|_| enter("192.0.2.9:1", false)).collect();
        assert!(many.iter().all(Option::is_some));
    }
}
