//! A follower of an operator's events.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;

use super::Broker;

/// An open stream.
pub(crate) struct Stream {
    response: Response,
    buffer: String,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: Option<i64>,
    pub(crate) event: Option<String>,
    pub(crate) data: Value,
}

impl Stream {
    pub(crate) async fn open(
        broker: &Broker,
        operator: &model::Actor,
        token: &str,
        last: Option<i64>,
    ) -> Self {
        let path = format!("/v1/sse/operator/{operator}");
        let mut request = broker.request(Method::GET, &path).bearer_auth(token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next message; heartbeats too. `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.buffer.split_once("\n\n") {
                let (message, rest) = (read(message), rest.to_owned());
                self.buffer = rest;
                return Some(message);
            }
            let patience = Duration::from_secs(10);
            let chunk = tokio::time::timeout(patience, self.response.chunk()).await;
            let chunk = chunk.expect("in time").ok().flatten()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Option<Message> {
        loop {
            let message = self.next().await?;
            if message.event.is_some() {
                return Some(message);
            }
        }
    }

    /// What stands at its beginning: the newest number.
    pub(crate) async fn begin(&mut self) -> i64 {
        self.next().await.unwrap().id.unwrap()
    }
}

fn read(text: &str) -> Message {
    let field = |name: &str| {
        let prefix = format!("{name}:");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&prefix).map(|v| v.trim().to_owned()))
    };
    Message {
        id: field("id").map(|id| id.parse().unwrap()),
        event: field("event"),
        data: field("data").map_or(Value::Null, |data| serde_json::from_str(&data).unwrap()),
    }
}
