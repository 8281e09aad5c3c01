//! A proxy in front of a store that kills the server whose calls it passes on: when a chosen
//! call comes, or when it was carried out and its answer was not passed back yet. It can also hold
//! a call up.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The caller dies, and the store never gets the call.
    Before,
    /// The caller dies, the store did the work, and nobody hears of it.
    After,
    /// The call waits until it is let go. Nobody dies.
    Held,
}

/// It serves until the test's process ends.
#[derive(Clone)]
pub(crate) struct Killer {
    pub(crate) address: String,
    store: String,
    watch: Arc<Mutex<Watch>>,
}

#[derive(Default)]
struct Watch {
    /// What has been called since it was set.
    calls: Vec<String>,
    trap: Option<Trap>,
    sprung: Option<Moment>,
    let_go: bool,
}

struct Trap {
    victim: Pid,
    /// The first is 1.
    call: usize,
    moment: Moment,
}

/// What happened since the trap was set.
pub(crate) struct Seen {
    /// Names of IAM's actions; methods and queries of S3's requests.
    pub(crate) calls: Vec<String>,
    /// Whether the trap has sprung: the victim is dead or about to be, or the call was held.
    pub(crate) sprung: Option<Moment>,
}

impl Killer {
    pub(crate) fn start(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let killer = Self {
            address: listener.local_addr().unwrap().to_string(),
            store: store.to_owned(),
            watch: Arc::default(),
        };
        let serving = killer.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let serving = serving.clone();
                // An end that breaks off is what this is for.
                thread::spawn(move || serving.serve(client).ok());
            }
        });
        killer
    }

    /// From now on calls count, and the one with this number kills.
    pub(crate) fn set(&self, victim: Pid, call: usize, moment: Moment) {
        *self.watch.lock() = Watch {
            trap: Some(Trap {
                victim,
                call,
                moment,
            }),
            ..Watch::default()
        };
    }

    /// Whether the trap that was set has sprung.
    pub(crate) fn sprung(&self) -> bool {
        self.watch.lock().sprung.is_some()
    }

    /// Lets the call go that is held.
    pub(crate) fn let_go(&self) {
        self.watch.lock().let_go = true;
    }

    /// Nobody is killed any more.
    pub(crate) fn lift(&self) -> Seen {
        let watch = std::mem::take(&mut *self.watch.lock());
        Seen {
            calls: watch.calls,
            sprung: watch.sprung,
        }
    }

    /// One request on each connection, which is what both ends are told.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let request = read_request(&mut client)?;
        let trap = self.called(name(&request));
        if let Some(trap) = trap.as_ref().filter(|trap| trap.moment == Moment::Before) {
            return trap.spring();
        }
        while trap.is_some() && !self.goes_on() {
            thread::sleep(Duration::from_millis(5));
        }
        let mut store = TcpStream::connect(&self.store)?;
        let line = find(&request, b"\r\n").unwrap_or_default() + 2;
        store.write_all(&request[..line])?;
        store.write_all(b"connection: close\r\n")?;
        store.write_all(&request[line..])?;
        let mut answer = Vec::new();
        store.read_to_end(&mut answer)?;
        if let Some(trap) = trap.filter(|trap| trap.moment == Moment::After) {
            return trap.spring();
        }
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Both)
    }

    fn goes_on(&self) -> bool {
        let watch = self.watch.lock();
        watch.sprung != Some(Moment::Held) || watch.let_go
    }

    /// Counts a call; the trap is the one's that it was set for.
    fn called(&self, name: String) -> Option<Trap> {
        let mut watch = self.watch.lock();
        watch.calls.push(name);
        let number = watch.calls.len();
        let trap = watch.trap.take_if(|trap| trap.call == number);
        if let Some(trap) = &trap {
            watch.sprung = Some(trap.moment);
        }
        trap
    }
}

impl Trap {
    fn spring(&self) -> io::Result<()> {
        kill_process(self.victim, Signal::KILL).map_err(io::Error::from)
    }
}

/// A head, and as much of a body as it says.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(head) = find(&request, b"\r\n\r\n")
            && request.len() >= head + 4 + body_length(&request[..head])
        {
            return Ok(request);
        }
        match client.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
}

fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(
        !head.contains("\r\ntransfer-encoding:"),
        "this proxy reads bodies of a known length"
    );
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| *name == "content-length");
    length.map_or(0, |(_, value)| value.trim().parse().unwrap())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|at| at == wanted)
}

/// `CreateUser`, `PUT`, `GET ?lifecycle`.
fn name(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let mut fields = body.split('&');
    if let Some(action) = fields.find_map(|field| field.strip_prefix("Action=")) {
        return action.to_owned();
    }
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default();
    match words.next().and_then(|path| path.split_once('?')) {
        Some((_, query)) => format!("{method} ?{query}"),
        None => method.to_owned(),
    }
}
