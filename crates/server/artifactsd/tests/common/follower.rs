//! A client that follows a workspace as it should: after each end of the stream it comes again and
//! says what it saw last.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How often it looks whether it has seen enough.
const LOOK: Duration = Duration::from_millis(100);

/// What one client saw.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Number and first key of each event, in the order in which they came.
    pub(crate) events: Vec<(u64, String)>,
    /// How often the stream ended before its time.
    pub(crate) ends: usize,
}

/// Follows from the first event on until `enough` says so of the last number.
pub(crate) fn follow(
    address: &str,
    workspace: &str,
    token: &str,
    enough: impl Fn(u64) -> bool,
) -> Followed {
    let mut followed = Followed::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !enough(followed.last()) {
        assert!(Instant::now() < deadline, "it never saw enough");
        match open(address, workspace, token, followed.last()) {
            Ok(stream) => followed.read(stream, &enough),
            Err(_) => std::thread::sleep(LOOK),
        }
        followed.ends += usize::from(!enough(followed.last()));
    }
    followed
}

impl Followed {
    fn last(&self) -> u64 {
        self.events.last().map_or(0, |(number, _)| *number)
    }

    fn read(&mut self, mut stream: BufReader<TcpStream>, enough: &impl Fn(u64) -> bool) {
        let mut number = 0;
        let mut line = Vec::new();
        while !enough(self.last()) {
            match stream.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {}
                // What came of the line so far is in it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            }
            let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
            if let Some(id) = text.strip_prefix("id: ") {
                number = id.trim().parse().unwrap();
            } else if let Some(data) = text.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                let key = data["objects"][0]["key"].as_str().unwrap_or_default();
                self.events.push((number, key.to_owned()));
            }
        }
    }
}

fn open(
    address: &str,
    workspace: &str,
    token: &str,
    last: u64,
) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /workspaces/{workspace}/events HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer {token}\r\nlast-event-id: {last}\r\n\r\n"
    )?;
    let mut stream = BufReader::new(stream);
    let mut status = String::new();
    stream.read_line(&mut status)?;
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(status));
    }
    stream.get_ref().set_read_timeout(Some(LOOK))?;
    Ok(stream)
}
