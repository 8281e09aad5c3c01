//! Something in front of a KMS that passes on what it is asked, but for the answers that a test
//! has set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

/// An answer of the KMS's.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// As AWS refuses: JSON with the error's name.
    pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "__type": code, "message": message });
        Self {
            status,
            body: body.to_string(),
        }
    }
}

#[derive(Default)]
struct Script {
    /// For each operation, what it is answered, and how often.
    answers: BTreeMap<String, (Answer, usize)>,
    /// How often each was asked for.
    asked: BTreeMap<String, usize>,
}

struct Shared {
    script: Mutex<Script>,
    behind: String,
    client: reqwest::Client,
}

/// The server; it ends with the runtime that it was started in.
pub(crate) struct Front {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Front {
    pub(crate) fn before(runtime: &Runtime, behind: &str) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            behind: behind.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { shared, address }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next so many questions of an operation are answered so.
    pub(crate) fn set(&self, operation: &str, answer: Answer, times: usize) {
        let mut script = self.shared.script.lock();
        script.answers.insert(operation.to_owned(), (answer, times));
    }

    /// How often an operation was asked for since this was asked last.
    pub(crate) fn take(&self, operation: &str) -> usize {
        let mut script = self.shared.script.lock();
        script.asked.remove(operation).unwrap_or(0)
    }
}

impl Script {
    fn answer(&mut self, operation: &str) -> Option<Answer> {
        *self.asked.entry(operation.to_owned()).or_default() += 1;
        let (answer, times) = self.answers.get_mut(operation)?;
        *times = times.checked_sub(1)?;
        Some(answer.clone())
    }
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers["x-amz-target"].to_str().unwrap();
    let operation = target.rsplit('.').next().unwrap();
    let set = shared.script.lock().answer(operation);
    let (status, body) = match set {
        Some(answer) => (answer.status, Bytes::from(answer.body)),
        None => {
            let mut passed = headers.clone();
            passed.remove("host");
            let call = shared
                .client
                .post(&shared.behind)
                .headers(passed)
                .body(body);
            let answer = call.send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        }
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Body::from(body))
        .unwrap()
}
