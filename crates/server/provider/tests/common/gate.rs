//! An HTTP server in front of a store that writes down each request and does to it what a
//! test says: passes it on, answers something else, or passes it on and loses the answer.
//! Without a store behind it, it answers from a script.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) authorization: String,
    pub(crate) body: String,
}

/// What is done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// This answer; the store hears nothing.
    Answer {
        status: u16,
        retry_after: Option<u32>,
        body: String,
    },
    /// The store does it, and the connection breaks.
    DoAndBreak,
    /// The store does it, and no answer comes for this long.
    DoAndHang,
}

type Judge = Box<dyn FnMut(&Seen) -> Fate + Send>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    judge: Mutex<Judge>,
    store: Option<SocketAddr>,
}

/// The server; it ends when it is dropped.
pub(crate) struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Seen {
    /// The form's parameters, without the API's version.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        let pairs = form_urlencoded::parse(self.body.as_bytes()).into_owned();
        pairs.filter(|(name, _)| name != "Version").collect()
    }

    /// The name of the IAM call, or the S3 request's line.
    pub(crate) fn action(&self) -> String {
        match self.form().remove("Action") {
            Some(action) => action,
            None => format!("{} {}", self.method, self.uri),
        }
    }
}

impl Fate {
    /// IAM's XML for a refusal.
    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            body: format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>said the gate</Message></Error><RequestId>r</RequestId></ErrorResponse>"
            ),
        }
    }

    /// S3's XML for a refusal.
    pub(crate) fn s3_refusal(status: u16, code: &str) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            body: format!("<Error><Code>{code}</Code><Message>said the gate</Message></Error>"),
        }
    }

    pub(crate) fn wait(self, seconds: u32) -> Self {
        match self {
            Self::Answer { status, body, .. } => Self::Answer {
                status,
                retry_after: Some(seconds),
                body,
            },
            other => other,
        }
    }
}

impl Gate {
    /// In front of a store; everything passes.
    pub(crate) async fn before(store: SocketAddr) -> Self {
        Self::start(Some(store), Box::new(|_| Fate::Pass)).await
    }

    /// Without a store: the answers in order; what comes when they are used up is refused.
    pub(crate) async fn scripted(answers: Vec<Fate>) -> Self {
        let mut answers = VecDeque::from(answers);
        let next = move |_: &Seen| {
            answers
                .pop_front()
                .unwrap_or_else(|| Fate::refusal(400, "ScriptIsOver"))
        };
        Self::start(None, Box::new(next)).await
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Judges every request from now on.
    pub(crate) fn judge(&self, judge: impl FnMut(&Seen) -> Fate + Send + 'static) {
        *self.shared.judge.lock() = Box::new(judge);
    }

    /// Does this to the IAM call with this number (from 0) after now, and lets all else pass.
    pub(crate) fn at_call(&self, number: usize, fate: Fate) {
        let mut left = number;
        self.judge(move |seen| {
            if !seen.form().contains_key("Action") {
                return Fate::Pass;
            }
            let hit = left == 0;
            left = left.wrapping_sub(1);
            if hit { fate.clone() } else { Fate::Pass }
        });
    }

    /// Does this to the request with this number (from 0) after now, whatever it is.
    pub(crate) fn at_request(&self, number: usize, fate: Fate) {
        let mut left = number;
        self.judge(move |_| {
            let hit = left == 0;
            left = left.wrapping_sub(1);
            if hit { fate.clone() } else { Fate::Pass }
        });
    }

    /// What came since the last time this was asked.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock())
    }

    async fn start(store: Option<SocketAddr>, judge: Judge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            judge: Mutex::new(judge),
            store,
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&serving)));
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let http = hyper::server::conn::http1::Builder::new();
    let service = service_fn(|request| handle(request, Arc::clone(&shared)));
    // A broken connection is what some tests want.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// An error breaks the connection without an answer.
async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let header = |name: &str| {
        head.headers
            .get(name)
            .map(|v| v.to_str().unwrap_or_default())
    };
    let seen = Seen {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        authorization: header("authorization").unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let fate = {
        let mut judge = shared.judge.lock();
        (*judge)(&seen)
    };
    shared.seen.lock().push(seen);
    let request = Request::from_parts(head, Full::new(body));
    match fate {
        Fate::Pass => pass_on(request, shared.store).await,
        Fate::DoAndBreak => {
            pass_on(request, shared.store).await?;
            Err(std::io::Error::other("the answer is lost"))
        }
        Fate::DoAndHang => {
            pass_on(request, shared.store).await?;
            std::future::pending().await
        }
        Fate::Answer {
            status,
            retry_after,
            body,
        } => {
            let mut answer = Response::builder().status(status);
            if let Some(seconds) = retry_after {
                answer = answer.header("retry-after", seconds);
            }
            answer
                .body(Full::new(body.into()))
                .map_err(std::io::Error::other)
        }
    }
}

/// The Host header stays as it was signed.
async fn pass_on(
    request: Request<Full<Bytes>>,
    store: Option<SocketAddr>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let store = store.ok_or_else(|| std::io::Error::other("there is no store"))?;
    let stream = TcpStream::connect(store).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let (head, body) = answer.map_err(std::io::Error::other)?.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}
