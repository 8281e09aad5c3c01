//! Starting and stopping: the folder, the lock, the port, the connections.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::header;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::config::{S3Config, S3ConfigProvider, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Auth};
use crate::bucket_policies::BucketPolicies;
use crate::iam;
use crate::keys::{AccessKey, Keys, KeysError};
use crate::lifecycle;
use crate::s3::Backend;
use crate::store::{self, Durability, Store};
use crate::sts::{Sessions, Sts};

/// Requests under way get this long to end when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// A connection may be silent for this long.
const IDLE: Duration = Duration::from_secs(300);

/// Rules of lifecycles count whole days: often enough.
const UPKEEP: Duration = Duration::from_secs(3600);

/// How to run a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds everything; made when missing, used by one server at a time.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether an address other than loopback is accepted.
    pub allow_remote: bool,
    /// What a power cut may take.
    pub durability: Durability,
    /// How far the time of a signed request may be from this machine's clock: 15 minutes, as
    /// S3 has it. A test whose client is told of another clock gives more.
    pub clock_tolerance: Duration,
    /// The root key; `None` keeps the one of the folder, or makes one.
    pub root: Option<AccessKey>,
}

/// A running store. Dropping it stops it, without grace.
pub struct Server {
    address: SocketAddr,
    keys: Arc<Keys>,
    root: AccessKey,
    stop: CancellationToken,
    abort: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Why a store did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not of this machine only.
    #[error(
        "{0} can be reached from other machines, and this store speaks plain HTTP\nhint: listen on 127.0.0.1, or say --allow-remote if the network is yours alone"
    )]
    Remote(SocketAddr),
    /// Somebody has the port.
    #[error(
        "{0} is taken by another program\nhint: choose another port with --listen, or 127.0.0.1:0 for a free one"
    )]
    PortTaken(SocketAddr),
    /// Listening failed otherwise.
    #[error(
        "cannot listen on {address}: {source}\nhint: check the address; ports below 1024 need root"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Another server works on the folder.
    #[error(
        "{0} is in use by another server\nhint: stop that one, or choose another --data folder"
    )]
    Locked(PathBuf),
    /// The folder is someone else's.
    #[error(
        "{path} belongs to user {owner}, not to you\nhint: choose a folder of your own with --data"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// The folder cannot be made or written.
    #[error(
        "the data folder {path} cannot be used: {source}\nhint: choose a folder that you may write to with --data"
    )]
    Data {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The index or the bodies cannot be used.
    #[error(
        "the store in {path} cannot be opened: {reason}\nhint: nothing was changed; keep a copy of the folder before trying anything"
    )]
    Store {
        /// The folder.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self::new("")
    }
}

impl Options {
    /// A free port on loopback, and everything else as usual.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            allow_remote: false,
            durability: Durability::default(),
            clock_tolerance: Duration::from_secs(15 * 60),
            root: None,
        }
    }
}

impl Server {
    /// Starts a store on threads of its own and returns when it takes requests.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (tell, told) = oneshot::channel();
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let signals = (stop.clone(), abort.clone());
        let data = options.data.clone();
        let lost = |source| StartError::Data {
            path: data.clone(),
            source,
        };
        let thread = std::thread::Builder::new()
            .name("embedded".into())
            .spawn(move || run(&options, tell, &signals.0, &signals.1))
            .map_err(&lost)?;
        let started = told
            .await
            .map_err(|_| lost(io::Error::other("the server's thread ended")))?;
        let Started {
            address,
            keys,
            root,
        } = started?;
        Ok(Self {
            address,
            keys,
            root,
            stop,
            abort,
            thread: Some(thread),
        })
    }

    /// The URL to give to clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that may do everything.
    pub fn root(&self) -> &AccessKey {
        &self.root
    }

    /// The keys, to add and revoke some.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Takes no more requests, lets those under way end (ten seconds at most), closes the
    /// store. The folder is free afterwards.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A join is a wait: not on an async thread.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.abort.cancel();
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Started {
    address: SocketAddr,
    keys: Arc<Keys>,
    root: AccessKey,
}

/// What answers requests.
#[derive(Clone)]
struct Services {
    /// S3 and STS.
    s3: S3Service,
    /// For IAM.
    keys: Arc<Keys>,
}

/// What a server holds while it runs.
struct Ready {
    store: Arc<Store>,
    listener: std::net::TcpListener,
    services: Services,
    /// Locked for as long as it is open.
    _lock: File,
}

fn run(
    options: &Options,
    tell: oneshot::Sender<Result<Started, StartError>>,
    stop: &CancellationToken,
    abort: &CancellationToken,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("embedded-worker")
        .enable_all()
        .build()
        .map_err(|source| StartError::Data {
            path: options.data.clone(),
            source,
        });
    let prepared = runtime.and_then(|runtime| Ok((runtime, prepare(options)?)));
    let (runtime, (ready, started)) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let store = Arc::clone(&ready.store);
    runtime.block_on(async {
        match TcpListener::from_std(ready.listener) {
            Ok(listener) => {
                let _ = tell.send(Ok(started));
                tokio::select! {
                    () = serve(listener, ready.services, stop, abort) => {}
                    () = keep_up(&store) => {}
                }
            }
            Err(source) => {
                let _ = tell.send(Err(StartError::Listen {
                    address: started.address,
                    source,
                }));
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close();
}

fn prepare(options: &Options) -> Result<(Ready, Started), StartError> {
    if !options.listen.ip().is_loopback() && !options.allow_remote {
        return Err(StartError::Remote(options.listen));
    }
    prepare_folder(&options.data)?;
    let lock = lock(&options.data)?;
    let listener = bind(options.listen)?;
    let address = listener.local_addr().map_err(|source| StartError::Listen {
        address: options.listen,
        source,
    })?;
    let keys = Arc::new(Keys::open(&options.data, options.root.as_ref())?);
    let store = Store::open(&options.data, options.durability)
        .map_err(|error| unusable(&options.data, &error))?;
    let store = Arc::new(store);
    let buckets = BucketPolicies::load(&store).map_err(|error| unusable(&options.data, &error))?;
    let buckets = Arc::new(buckets);
    let backend = Backend::new(Arc::clone(&store), Arc::clone(&buckets));
    let mut builder = S3ServiceBuilder::new(backend);
    let sessions = Arc::new(Sessions::default());
    builder.set_config(signing(options.clock_tolerance));
    builder.set_auth(Auth(Arc::clone(&keys), Arc::clone(&sessions)));
    builder.set_access(Access {
        keys: Arc::clone(&keys),
        sessions: Arc::clone(&sessions),
        buckets,
    });
    builder.set_route(Sts::new(sessions, Arc::clone(&keys), &options.data));
    let root = keys.root()?;
    let ready = Ready {
        store,
        listener,
        services: Services {
            s3: builder.build(),
            keys: Arc::clone(&keys),
        },
        _lock: lock,
    };
    Ok((
        ready,
        Started {
            address,
            keys,
            root,
        },
    ))
}

fn signing(clock_tolerance: Duration) -> Arc<dyn S3ConfigProvider> {
    let mut config = S3Config::default();
    // It counts for every signature, in whatever part of the request it stands.
    config.presigned_url_max_skew_time_secs =
        u32::try_from(clock_tolerance.as_secs()).unwrap_or(u32::MAX);
    Arc::new(StaticConfigProvider::new(Arc::new(config)))
}

fn unusable(data: &Path, error: &store::Error) -> StartError {
    StartError::Store {
        path: data.to_owned(),
        reason: error.to_string(),
    }
}

fn prepare_folder(data: &Path) -> Result<(), StartError> {
    let wrong = |source| StartError::Data {
        path: data.to_owned(),
        source,
    };
    if data.as_os_str().is_empty() {
        return Err(wrong(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no folder was named",
        )));
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(wrong)?;
    let owner = fs::metadata(data).map_err(wrong)?.uid();
    let me = rustix::process::geteuid().as_raw();
    if owner != me {
        return Err(StartError::Foreign {
            path: data.to_owned(),
            owner,
        });
    }
    tempfile::tempfile_in(data).map(drop).map_err(wrong)
}

fn lock(data: &Path) -> Result<File, StartError> {
    let wrong = |source| StartError::Data {
        path: data.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(data.join("lock"))
        .map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StartError::Locked(data.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(wrong(source)),
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(address),
        _ => StartError::Listen { address, source },
    })
}

/// Carries out what the buckets' lifecycles say, for ever.
async fn keep_up(store: &Store) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        match lifecycle::carry_out(store, store::now()).await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "ended what lifecycles say is over"),
            Err(error) => tracing::warn!(%error, "lifecycles could not be carried out"),
        }
    }
}

async fn serve(
    listener: TcpListener,
    services: Services,
    stop: &CancellationToken,
    abort: &CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, services.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Most likely out of file descriptors: let some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = tokio::time::sleep(GRACE) => tracing::warn!("requests under way were cut off"),
        () = abort.cancelled() => {}
    }
}

async fn converse(stream: TcpStream, services: Services, stop: CancellationToken) {
    // Small answers must not wait for a client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    // Between requests, too: clients keep their connections for minutes.
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let connection = http.serve_connection(
        TokioIo::new(stream),
        service_fn(|request| answer(&services, request)),
    );
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

/// Answers one request. botocore says `Expect: 100-continue` also for an empty body, for
/// which hyper sends no 100 (RFC 9110 §10.1.1 leaves it free), and then takes the next
/// answer on the connection for this one's: so the connection ends with such an answer.
fn answer(
    services: &Services,
    request: hyper::Request<hyper::body::Incoming>,
) -> impl Future<Output = Result<s3s::HttpResponse, s3s::HttpError>> + use<> {
    let said = |name, value| {
        request
            .headers()
            .get(name)
            .is_some_and(|found| found == value)
    };
    let ends = said(header::EXPECT, "100-continue") && said(header::CONTENT_LENGTH, "0");
    let services = services.clone();
    async move {
        let mut answer = if iam::is_meant(&request) {
            iam::answer(services.keys, request, OffsetDateTime::now_utc()).await
        } else {
            Service::call(&services.s3, request).await?
        };
        if ends {
            answer.headers_mut().insert(
                header::CONNECTION,
                header::HeaderValue::from_static("close"),
            );
        }
        Ok(answer)
    }
}
