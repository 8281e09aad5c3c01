//! A server that says what a test has written down, and buckets to ask it with.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};

/// The access key id of [`config`].
pub(crate) const ACCESS_KEY_ID: &str = "AKID1";
/// Its secret; no log may show it.
pub(crate) const SECRET: &str = "secret-never-to-be-shown";
/// Its session token; no log may show it.
pub(crate) const TOKEN: &str = "token-never-to-be-shown";

/// Static keys with a session token.
pub(crate) fn keys(access_key_id: &str) -> Keys {
    Keys {
        access_key_id: access_key_id.into(),
        secret_access_key: SECRET.into(),
        session_token: Some(TOKEN.into()),
        expires: None,
    }
}

/// A bucket `b` at this endpoint, impatient enough for tests.
pub(crate) fn config(endpoint: &str) -> Config {
    let keys = Arc::new(StaticKeys::new(keys(ACCESS_KEY_ID)));
    let mut config = Config::new("b", "us-east-1", keys);
    config.endpoint = Some(endpoint.into());
    config.connect_timeout = Duration::from_millis(500);
    config.read_timeout = Duration::from_millis(700);
    config.operation_timeout = Duration::from_secs(2);
    config
}

/// The bucket of [`config`].
pub(crate) fn bucket(endpoint: &str) -> S3Bucket {
    S3Bucket::new(config(endpoint)).unwrap()
}

/// What the server says to one request.
#[derive(Clone)]
pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
    ending: Ending,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    KeepAlive,
    Close,
    Stall,
}

impl Answer {
    /// A status with headers (each `Name: value`) and a body.
    pub(crate) fn new(status: u16, headers: &[&str], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        Self {
            head,
            body: body.into(),
            ending: Ending::KeepAlive,
        }
    }

    /// An S3 error document.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Self::new(status, &["Content-Type: application/xml"], &xml)
    }

    /// An answer to HEAD: no body.
    pub(crate) fn bare(status: u16) -> Self {
        Self::new(status, &[], "")
    }

    /// A head of the test's own making, without a body.
    pub(crate) fn raw(head: String) -> Self {
        Self {
            head,
            body: Vec::new(),
            ending: Ending::KeepAlive,
        }
    }

    /// Sends only the first bytes of the body and hangs up.
    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.body.truncate(after);
        self.ending = Ending::Close;
        self
    }

    /// Sends only the first bytes of the body and keeps the connection open.
    pub(crate) fn stalled(mut self, after: usize) -> Self {
        self.body.truncate(after);
        self.ending = Ending::Stall;
        self
    }
}

/// A running server; requests are answered in the order of the script.
pub(crate) struct Script {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<String>>,
}

impl Script {
    /// Starts listening. The thread ends with the test's process.
    pub(crate) fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Mutex::new(answers.into_iter().collect());
        let shared = Arc::new(Shared {
            answers,
            requests: Mutex::default(),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Request lines and headers so far, lower-cased header names as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = read_request(&mut reader) {
            self.requests.lock().unwrap().push(request);
            let next = self.answers.lock().unwrap().pop_front();
            let answer = next.unwrap_or_else(|| Answer::error(400, "TheScriptHasEnded"));
            let _ = stream.write_all(format!("{}\r\n", answer.head).as_bytes());
            let _ = stream.write_all(&answer.body);
            match answer.ending {
                Ending::KeepAlive => {}
                Ending::Close => return,
                Ending::Stall => std::thread::sleep(Duration::from_secs(60)),
            }
        }
    }
}

/// The head of a request, its body read and dropped; `None` at the end.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let read = std::io::copy(&mut reader.take(len), &mut std::io::sink()).ok()?;
    (read == len).then_some(head)
}
