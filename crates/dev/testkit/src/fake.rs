//! Endpoints that are not what a user hopes for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Error;

/// What every [`Endpoint::html`] says.
pub const PAGE: &str = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";

/// A listener on a free port of loopback; dropping it closes it and its connections.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Accepts connections and requests and never answers.
    ///
    /// # Errors
    /// The system's refusal to listen.
    pub fn silent() -> Result<Self, Error> {
        Self::serve(|_| {})
    }

    /// Answers every request with a web page and status 200, as a wrong URL often does.
    ///
    /// # Errors
    /// The system's refusal to listen.
    pub fn html() -> Result<Self, Error> {
        Self::serve(|stream| {
            // The caller may hang up early, which is its right.
            let _ = answer_html(stream);
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("listen"))?;
        let address = listener.local_addr().map_err(Error::io("local address"))?;
        let closing = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&closing);
        let thread = std::thread::spawn(move || accept(&listener, &seen, &answer));
        Ok(Self {
            address,
            closing,
            thread: Some(thread),
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // Wakes the accept call; if that fails the thread has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // Only a panic in the thread is lost here, and it was printed.
            let _ = thread.join();
        }
    }
}

/// Connections are kept until the end, so that a silent one stays open.
fn accept(listener: &TcpListener, closing: &AtomicBool, answer: &impl Fn(&mut TcpStream)) {
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        if closing.load(Ordering::Acquire) {
            return;
        }
        if let Ok(mut stream) = stream {
            answer(&mut stream);
            kept.push(stream);
        }
    }
}

fn answer_html(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let length = PAGE.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{PAGE}"
    )?;
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(endpoint: &Endpoint) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(endpoint.address)?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn silent_accepts_and_says_nothing() {
        let endpoint = Endpoint::silent().unwrap();
        let error = ask(&endpoint).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn html_answers_a_page() {
        let endpoint = Endpoint::html().unwrap();
        let answer = ask(&endpoint).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html"),
            "{answer}"
        );
        assert!(answer.ends_with(PAGE), "{answer}");
    }
}
