//! A stream of events, as a client reads it.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures::StreamExt;
use serde_json::Value;

/// The stream.
pub(crate) struct Stream {
    body: BodyDataStream,
    text: String,
}

/// One event of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Stream {
    pub(crate) fn new(body: axum::body::Body) -> Self {
        Self {
            body: body.into_data_stream(),
            text: String::new(),
        }
    }

    /// The number that the stream begins with.
    pub(crate) async fn begin(&mut self) -> String {
        let block = self.block().await.unwrap();
        field(&block, "id").unwrap()
    }

    /// The next event; comments are passed over.
    pub(crate) async fn next(&mut self) -> Told {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if let Some(data) = field(&block, "data") {
                return Told {
                    id: field(&block, "id").unwrap(),
                    event: field(&block, "event").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                };
            }
        }
    }

    /// Whether the server ends it, without another event.
    pub(crate) async fn ends(&mut self) -> bool {
        while let Some(block) = self.block().await {
            if field(&block, "data").is_some() {
                return false;
            }
        }
        true
    }

    /// The lines up to the next empty one; nothing at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await;
            let chunk = chunk.expect("something comes in time")?;
            self.text
                .push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }
}

fn field(block: &str, name: &str) -> Option<String> {
    let mut lines = block.lines();
    lines.find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
    })
}
