//! Documents of a web server.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Serves the folder with ETags, and counts what it sends.
struct Server {
    url: String,
    whole: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
}

fn serve(folder: PathBuf) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server {
        url: format!("http://{}/registry", listener.local_addr().unwrap()),
        whole: Arc::default(),
        unchanged: Arc::default(),
        failing: Arc::default(),
    };
    let counts = (
        Arc::clone(&server.whole),
        Arc::clone(&server.unchanged),
        Arc::clone(&server.failing),
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &folder, &counts);
        }
    });
    server
}

type Counts = (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>);

fn answer(mut stream: TcpStream, folder: &Path, counts: &Counts) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap()?;
    let head: Vec<String> = lines
        .map_while(|l| l.ok().filter(|l| !l.is_empty()))
        .collect();
    let (whole, unchanged, failing) = counts;
    let close = "Connection: close\r\n\r\n";
    if failing.load(Ordering::Relaxed) > 0 {
        failing.fetch_sub(1, Ordering::Relaxed);
        return write!(stream, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n{close}");
    }
    let path = first
        .split(' ')
        .nth(1)
        .unwrap()
        .strip_prefix("/registry/")
        .unwrap();
    let Ok(body) = std::fs::read_to_string(folder.join(path)) else {
        return write!(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n{close}");
    };
    let tag = format!(
        "\"{}\"",
        body.len() + body.bytes().map(usize::from).sum::<usize>()
    );
    if head
        .iter()
        .any(|line| line.to_lowercase() == format!("if-none-match: {tag}"))
    {
        unchanged.fetch_add(1, Ordering::Relaxed);
        return write!(stream, "HTTP/1.1 304 Same\r\nETag: {tag}\r\n{close}");
    }
    whole.fetch_add(1, Ordering::Relaxed);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {length}\r\n{close}{body}"
    )
}

#[tokio::test]
async fn documents_of_a_web_server_are_read_once_and_then_asked_after() {
    let bench = Bench::new();
    bench.write(&bench.document(1));
    let server = serve(bench.documents());
    let reader = DocumentRegistry::open(DocumentSettings {
        source: Source::parse(&server.url).unwrap(),
        pins: bench.pins(),
        seen: bench.folder.path().join("seen.json"),
        fresh_for: Duration::ZERO,
    })
    .unwrap();
    for _ in 0..3 {
        assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    }
    assert_eq!(server.whole.load(Ordering::Relaxed), 1);
    assert_eq!(server.unchanged.load(Ordering::Relaxed), 2);

    server.failing.store(1, Ordering::Relaxed);
    assert_eq!(
        scope(&reader, &bench).await.unwrap(),
        ALLOWED,
        "one failure is tried again"
    );
    server.failing.store(2, Ordering::Relaxed);
    refused(scope(&reader, &bench).await, "503");

    let mut second = bench.document(2);
    second.scopes.clear();
    bench.write(&second);
    assert_eq!(scope(&reader, &bench).await.unwrap(), Scope::NONE);
    bench.write(&bench.document(1));
    refused(
        scope(&reader, &bench).await,
        "version 1, and version 2 was seen",
    );
    let _ = std::fs::remove_file(bench.documents().join(operator_file(&bench.operator)));
    refused(scope(&reader, &bench).await, "is gone from");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_believed_to_have_nothing() {
    let bench = Bench::new();
    let reader = DocumentRegistry::open(DocumentSettings {
        source: Source::parse("http://127.0.0.1:9/").unwrap(),
        pins: bench.pins(),
        seen: bench.folder.path().join("seen.json"),
        fresh_for: FRESH_FOR,
    })
    .unwrap();
    refused(scope(&reader, &bench).await, "cannot connect");
}
