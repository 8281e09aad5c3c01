//! Many streams of events (Server-Sent Events) at once, for scripts that measure a server: in
//! one thread, so that most of the machine is the server's.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{announce, told_to_end};

/// Streams that are being opened at the same time.
const AT_ONCE: usize = 32;

/// What became of the streams.
#[derive(Debug, Default, Serialize)]
struct Seen {
    /// Streams that the server ended.
    ended: usize,
    /// Lines that say nothing, which show that a stream lives.
    beats: u64,
    /// For each event's number when it came, in nanoseconds of the monotonic clock: a number
    /// for each stream.
    arrivals: BTreeMap<u64, Vec<u64>>,
}

/// Follows all streams of a file, and prints what came when told to end.
pub(crate) fn run(to: SocketAddr, streams: &Path, ready_file: &Path) -> io::Result<()> {
    allow_many_connections();
    let wanted = std::fs::read_to_string(streams)?;
    let requests: Result<Vec<String>, io::Error> =
        wanted.lines().map(|line| request(to, line)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = runtime.block_on(follow_all(to, requests?, ready_file))?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&seen)?)
}

async fn follow_all(to: SocketAddr, requests: Vec<String>, ready_file: &Path) -> io::Result<Seen> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for request in requests {
        let (seen, room) = (Arc::clone(&seen), Arc::clone(&room));
        opening.spawn(async move {
            let _place = room.acquire_owned().await;
            let stream = open(to, &request).await?;
            tokio::spawn(read(stream, seen));
            Ok::<_, io::Error>(())
        });
    }
    let mut count = 0;
    while let Some(opened) = opening.join_next().await {
        opened??;
        count += 1;
    }
    announce(ready_file, &serde_json::json!({ "streams": count }))?;
    told_to_end().await?;
    Ok(std::mem::take(&mut seen.lock()))
}

fn request(to: SocketAddr, line: &str) -> io::Result<String> {
    let (path, token) = line
        .split_once(' ')
        .ok_or_else(|| io::Error::other("a line of the streams' file is a path and a token"))?;
    Ok(format!(
        "GET {path} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
    ))
}

/// Up to the end of the answer's head, which must say 200.
async fn open(to: SocketAddr, request: &str) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut stream = BufReader::with_capacity(512, stream);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    if !first.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(format!("a stream was refused: {first}")));
    }
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("a stream ended in its head"));
        }
    }
    Ok(stream)
}

/// Each message comes in a chunk of its own, so that the lines of the chunks' lengths can be
/// passed over like those of the data.
async fn read(mut stream: BufReader<TcpStream>, seen: Arc<Mutex<Seen>>) {
    let mut line = Vec::new();
    let mut has_begun = false;
    loop {
        line.clear();
        match stream.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => {
                seen.lock().ended += 1;
                return;
            }
            Ok(_) => {}
        }
        if line == b":\n" || line == b": \n" {
            seen.lock().beats += 1;
        }
        let Some(number) = line.strip_prefix(b"id: ") else {
            continue;
        };
        let number = std::str::from_utf8(number).unwrap_or_default().trim();
        // The first is where the stream begins, and no event.
        if let Ok(number) = number.parse()
            && std::mem::replace(&mut has_begun, true)
        {
            let now = monotonic();
            seen.lock().arrivals.entry(number).or_default().push(now);
        }
    }
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// A stream is a connection, and the usual soft limit is 1,024 open files.
fn allow_many_connections() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is then too many is refused when it is opened.
    let _ = setrlimit(Resource::Nofile, limit);
}
