//! A TCP proxy that makes a near server feel far, or ill: it adds latency to every HTTP/1.1
//! request, hangs, refuses, cuts connections, has another clock, and counts what passes.
//!
//! A request begins where the client speaks again after the server spoke (or first of
//! all), so bodies of any size and encoding pass untouched and only the first bytes of a
//! request wait. Pipelined requests would count as one; no S3 client pipelines.

mod clock;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use clock::Clock;

use crate::Error;

/// Big enough that the copy costs little beside the servers on both ends.
const BUFFER: usize = 256 * 1024;

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Passes everything on, after the latency.
    #[default]
    Forward,
    /// Keeps connections open, accepts new ones, and passes nothing on; what is held goes
    /// on when the mode changes back.
    Hang,
    /// Closes every connection, open and new.
    Cut,
}

/// A running proxy on a port of loopback; dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// An own runtime, so that the proxy serves synchronous tests as well; always `Some`
    /// until dropped.
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes on to `to`.
    ///
    /// # Errors
    /// The system's refusal to listen.
    pub fn start(to: SocketAddr) -> Result<Self, Error> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), to)
    }

    /// Listens on `listen` and passes on to `to`.
    ///
    /// # Errors
    /// The system's refusal to listen.
    pub fn start_on(listen: SocketAddr, to: SocketAddr) -> Result<Self, Error> {
        let listener = std::net::TcpListener::bind(listen);
        let listener = listener.map_err(Error::io(format!("listen on {listen}")))?;
        let address = listener.local_addr().map_err(Error::io("local address"))?;
        listener
            .set_nonblocking(true)
            .map_err(Error::io("set the listener non-blocking"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .map_err(Error::io("start the proxy's runtime"))?;
        let shared = Arc::new(Shared::default());
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(Error::io("listen"))?;
        runtime.spawn(accept(listener, to, Arc::clone(&shared)));
        drop(_entered);
        Ok(Self {
            address,
            shared,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds this long before every request from now on.
    pub fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.shared.latency_micros.store(micros, Ordering::Relaxed);
    }

    /// What to do with connections from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Closes the connections that are open now, in the middle of whatever they carry; new
    /// ones are served.
    pub fn cut_open(&self) {
        self.shared.cuts.send_modify(|n| *n += 1);
    }

    /// Answers every request from now on with `503 SlowDown` without asking the server,
    /// until called with `false`.
    pub fn set_throttling(&self, throttling: bool) {
        self.shared.throttling.store(throttling, Ordering::Relaxed);
    }

    /// Cuts the connections of so many of a hundred requests from now on, spread evenly: half of
    /// them before the server is asked, half after.
    pub fn set_flaky(&self, percent: u32) {
        self.shared.flaky.store(percent, Ordering::Relaxed);
    }

    /// The server's clock as clients see it from now on, until called with `None`: by its
    /// answers' heads, and by its refusal of what is signed too far from it. Times within
    /// bodies stay the server's own, and so does its own look at signatures.
    pub fn set_clock(&self, clock: Option<Clock>) {
        *self.shared.clock.lock() = clock;
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many requests passed, by method.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.requests.lock().clone()
    }

    /// Forgets the requests counted so far.
    pub fn reset_counts(&self) {
        self.shared.requests.lock().clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, because a drop inside an async test must not block.
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    latency_micros: AtomicU64,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    throttling: AtomicBool,
    flaky: AtomicU32,
    /// How far the requests that pass have come to the next one that is cut, in hundredths.
    until_cut: AtomicU32,
    clock: Mutex<Option<Clock>>,
    connections: AtomicU64,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros.load(Ordering::Relaxed))
    }

    fn throttles(&self) -> bool {
        self.throttling.load(Ordering::Relaxed)
    }

    /// Whether this request is one of those that are cut, and if so whether the server sees it.
    fn cuts(&self) -> Option<bool> {
        let percent = self.flaky.load(Ordering::Relaxed);
        if percent == 0 {
            return None;
        }
        let before = self.until_cut.fetch_add(percent, Ordering::Relaxed);
        let (from, to) = (before / 100, before.wrapping_add(percent) / 100);
        (from != to).then_some(to % 2 == 0)
    }

    fn clock(&self) -> Option<Clock> {
        *self.clock.lock()
    }

    fn count(&self, beginning: &[u8]) {
        let end = beginning
            .iter()
            .position(|b| *b == b' ')
            .unwrap_or(beginning.len().min(16));
        let method = String::from_utf8_lossy(&beginning[..end]).into_owned();
        *self.requests.lock().entry(method).or_default() += 1;
    }

    /// Returns once bytes may pass.
    async fn open(&self) {
        let mut mode = self.mode.subscribe();
        // Fails only when the sender is gone, and this value holds it.
        let _ = mode.wait_for(|mode| *mode != Mode::Hang).await;
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, shared: Arc<Shared>) {
    loop {
        // Out of descriptors, most likely: let some close.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection(client, to, Arc::clone(&shared)));
    }
}

/// Serves one connection until it ends or is cut.
async fn connection(client: TcpStream, to: SocketAddr, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let mut mode = shared.mode.subscribe();
    tokio::select! {
        // An error of either side closes both, which is what the other side must see.
        _ = relay(client, to, &shared) => {}
        _ = cuts.changed() => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn relay(client: TcpStream, to: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    shared.open().await;
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // True where the next bytes of the client begin a request.
    let turn = AtomicBool::new(true);
    // True once the answer is to be lost.
    let lost = AtomicBool::new(false);
    let state = Passing {
        turn: &turn,
        lost: &lost,
    };
    let to_client = tokio::sync::Mutex::new(to_client);
    let up = upstream(from_client, to_server, &to_client, &state, shared);
    let down = downstream(from_server, &to_client, &state, shared);
    // The response may outlive the client's half, never the other way round.
    tokio::select! {
        result = async { up.await?; std::future::pending().await } => result,
        result = down => result,
    }
}

/// What both directions of a connection know.
struct Passing<'a> {
    turn: &'a AtomicBool,
    lost: &'a AtomicBool,
}

async fn upstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answers: &tokio::sync::Mutex<OwnedWriteHalf>,
    state: &Passing<'_>,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        shared.open().await;
        if state.turn.swap(false, Ordering::AcqRel) {
            shared.count(&buffer[..n]);
            tokio::time::sleep(shared.latency()).await;
            if let Some(seen) = shared.cuts() {
                if seen {
                    state.lost.store(true, Ordering::Release);
                    to.write_all(&buffer[..n]).await?;
                    // Long enough for the server to do what it was asked.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return Err(std::io::Error::other("cut"));
            }
            if shared.throttles() {
                return refuse(answers, &OVERLOADED, "").await;
            }
            let now = OffsetDateTime::now_utc();
            let clock = shared.clock();
            if let Some(clock) = clock.filter(|clock| clock.refuses(&buffer[..n], now)) {
                return refuse(answers, &TOO_SKEWED, &clock.date_line(now)).await;
            }
        }
        to.write_all(&buffer[..n]).await?;
    }
}

/// A refusal of S3's.
struct Refusal {
    status: &'static str,
    code: &'static str,
    message: &'static str,
}

const OVERLOADED: Refusal = Refusal {
    status: "503 Slow Down",
    code: "SlowDown",
    message: "Please reduce your request rate.",
};

const TOO_SKEWED: Refusal = Refusal {
    status: "403 Forbidden",
    code: "RequestTimeTooSkewed",
    message: "The difference between the request time and the server's time is too large.",
};

/// Answers as a store does, and closes. `more` are lines of the head.
async fn refuse(
    answers: &tokio::sync::Mutex<OwnedWriteHalf>,
    refusal: &Refusal,
    more: &str,
) -> std::io::Result<()> {
    let Refusal {
        status,
        code,
        message,
    } = refusal;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error>"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         {more}Connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut to_client = answers.lock().await;
    to_client.write_all(answer.as_bytes()).await?;
    to_client.shutdown().await?;
    Err(std::io::Error::other("refused"))
}

async fn downstream(
    mut from: OwnedReadHalf,
    to: &tokio::sync::Mutex<OwnedWriteHalf>,
    state: &Passing<'_>,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.lock().await.shutdown().await;
        }
        shared.open().await;
        if state.lost.load(Ordering::Acquire) {
            return Err(std::io::Error::other("cut"));
        }
        let begins = !state.turn.swap(true, Ordering::AcqRel);
        if let Some(clock) = shared.clock().filter(|_| begins) {
            clock.change(&mut buffer[..n]);
        }
        to.lock().await.write_all(&buffer[..n]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::time::Instant;

    use super::*;

    /// Answers every request of a connection with its request line.
    fn echo_server() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut buffer = [0; 1024];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..n]).unwrap();
                    }
                });
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(proxy.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        stream
    }

    fn ask(stream: &mut std::net::TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[test]
    fn each_request_waits_and_is_counted_and_bodies_pass_whole() {
        let proxy = Proxy::start(echo_server()).unwrap();
        proxy.set_latency(Duration::from_millis(40));
        let mut stream = connect(&proxy);
        let begun = Instant::now();
        for i in 0..3 {
            let text = format!("GET /{i}");
            assert_eq!(ask(&mut stream, &text).unwrap(), text);
        }
        assert_eq!(ask(&mut stream, "HEAD /").unwrap(), "HEAD /");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(160), "{took:?}");
        let counted: Vec<_> = proxy.requests().into_iter().collect();
        assert_eq!(counted, [("GET".to_owned(), 3), ("HEAD".to_owned(), 1)]);
        assert_eq!(proxy.connections(), 1);
    }

    #[test]
    fn hanging_holds_and_then_lets_go() {
        let proxy = Proxy::start(echo_server()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, "one").unwrap(), "one");
        proxy.set_mode(Mode::Hang);
        assert_eq!(
            ask(&mut stream, "two").unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        proxy.set_mode(Mode::Forward);
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"two");
    }

    #[test]
    fn cutting_closes_open_connections_only() {
        let proxy = Proxy::start(echo_server()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, "one").unwrap(), "one");
        proxy.cut_open();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(
            matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
        );
        assert_eq!(ask(&mut connect(&proxy), "new").unwrap(), "new");
    }

    #[test]
    fn in_cut_mode_nothing_is_served() {
        let proxy = Proxy::start(echo_server()).unwrap();
        proxy.set_mode(Mode::Cut);
        let error = ask(&mut connect(&proxy), "one").unwrap_err();
        let closed = [
            ErrorKind::UnexpectedEof,
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
        ];
        assert!(closed.contains(&error.kind()), "{error:?}");
    }

    #[test]
    fn a_flaky_one_cuts_as_many_as_it_was_told() {
        let proxy = Proxy::start(echo_server()).unwrap();
        proxy.set_flaky(12);
        let answered = (0..100).filter(|_| ask(&mut connect(&proxy), "one").is_ok());
        assert_eq!(answered.count(), 88);
        proxy.set_flaky(0);
        assert_eq!(ask(&mut connect(&proxy), "one").unwrap(), "one");
    }

    #[test]
    fn throttling_answers_503_and_asks_nobody() {
        let proxy = Proxy::start(echo_server()).unwrap();
        proxy.set_throttling(true);
        let mut stream = connect(&proxy);
        stream.write_all(b"PUT / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 Slow Down\r\n"), "{answer}");
        assert!(answer.contains("<Code>SlowDown</Code>"), "{answer}");
    }
}
