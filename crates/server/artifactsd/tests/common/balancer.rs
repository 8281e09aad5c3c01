//! One address in front of several servers, as a load balancer for TCP connections has it: a
//! connection goes to the next server that takes it, and ends when that server's does.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

/// It serves until the test's process ends.
#[derive(Clone)]
pub(crate) struct Balancer {
    pub(crate) address: String,
    servers: Arc<Mutex<Vec<String>>>,
    next: Arc<AtomicUsize>,
}

impl Balancer {
    /// In front of nobody yet: servers need its address to begin.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let balancer = Self {
            address: listener.local_addr().unwrap().to_string(),
            servers: Arc::default(),
            next: Arc::default(),
        };
        let serving = balancer.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.pass_on(&client));
            }
        });
        balancer
    }

    pub(crate) fn add(&self, server: &str) {
        self.servers.lock().push(server.to_owned());
    }

    /// A client that no server takes finds its connection ended.
    fn pass_on(&self, client: &TcpStream) {
        let Some(server) = self.choose() else {
            return;
        };
        let there = copy_in_a_thread(client, &server);
        let back = copy_in_a_thread(&server, client);
        for copying in [there, back].into_iter().flatten() {
            // What ended it is the two ends' business.
            let _ = copying.join();
        }
    }

    fn choose(&self) -> Option<TcpStream> {
        let servers = self.servers.lock().clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut turns = (0..servers.len()).map(|turn| &servers[(first + turn) % servers.len()]);
        turns.find_map(|server| TcpStream::connect(server).ok())
    }
}

/// When one direction ends, so does that half of the other connection; when it breaks, both do.
fn copy_in_a_thread(from: &TcpStream, to: &TcpStream) -> io::Result<thread::JoinHandle<()>> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    Ok(thread::spawn(move || {
        let how = match io::copy(&mut from, &mut to) {
            Ok(_) => Shutdown::Write,
            Err(_) => Shutdown::Both,
        };
        // They may be gone already.
        let _ = to.shutdown(how);
        if how == Shutdown::Both {
            let _ = from.shutdown(how);
        }
    }))
}
