//! What the server counts of itself, for Prometheus.
//!
//! No label comes from a tenant or a person: a path is that of the router, a reason one of a
//! few words. So the number of series does not grow with what is served, and nothing in them is
//! a secret or tells who does what.

use std::borrow::Cow;
use std::time::Duration;

use api::Timestamp;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::store::{Connections, Figures};

/// One label of a few words.
type Word = [(&'static str, &'static str); 1];

/// Two of them.
type Words = [(&'static str, &'static str); 2];

/// Method, path and status of a request.
type Request = [(&'static str, Cow<'static, str>); 3];

type Seconds<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// Where a length of time counts: from what a cached answer takes to what a provider may.
const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0,
];

/// What a storage key went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// It was handed out.
    Issued,
    /// It was asked for and could not be made; what there was of it is taken back.
    NotIssued,
    /// The provider confirmed that it is gone.
    Revoked,
    /// The provider did not take it back; it is asked again.
    NotRevoked,
}

/// The counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Seconds<Request>,
    provider_calls: Seconds<Words>,
    keys: Family<Word, Counter>,
    logins: Family<Words, Counter>,
    refused_tokens: Family<Word, Counter>,
    events_sent: Family<Word, Counter>,
    webhooks: Family<Word, Counter>,
    streams: Gauge,
    live_mounts: Gauge,
    audit_rows: Gauge,
    due: Family<Word, Gauge>,
    oldest_due: Family<Word, Gauge>,
    connections: Family<Word, Gauge>,
    database: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("artifacts");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        let all = &mut registry;
        Self {
            requests: added(
                all,
                "http_request_duration_seconds",
                "Requests by endpoint and status, and how long they took until the answer began",
                seconds(),
            ),
            provider_calls: added(
                all,
                "provider_call_duration_seconds",
                "Calls of the provider of buckets and keys, and how long they took",
                seconds(),
            ),
            keys: added(
                all,
                "storage_keys",
                "Storage keys, by what they went through",
                Family::default(),
            ),
            logins: added(
                all,
                "logins",
                "Steps of logins, by what came of them",
                Family::default(),
            ),
            refused_tokens: added(
                all,
                "tokens_refused",
                "Tokens that did not count, by why",
                Family::default(),
            ),
            events_sent: added(
                all,
                "events_sent",
                "Events that were written to streams",
                Family::default(),
            ),
            webhooks: added(
                all,
                "webhooks_received",
                "Notifications of stores that were accepted",
                Family::default(),
            ),
            streams: added(
                all,
                "event_streams",
                "Streams of events at this server",
                Gauge::default(),
            ),
            live_mounts: added(
                all,
                "live_mounts",
                "Mounts that are alive, at all servers of the database",
                Gauge::default(),
            ),
            audit_rows: added(all, "audit_rows", "Rows of the audit", Gauge::default()),
            due: added(
                all,
                "background_steps_due",
                "Rows whose next step is due and not taken yet",
                Family::default(),
            ),
            oldest_due: added(
                all,
                "background_oldest_due_seconds",
                "For how long the oldest of these is due",
                Family::default(),
            ),
            connections: added(
                all,
                "database_connections",
                "Connections to the database, by what they do; most is how many there may be",
                Family::default(),
            ),
            database: added(
                all,
                "database_up",
                "1 if the database answered when this was asked",
                Gauge::default(),
            ),
            registry,
        }
    }

    /// A request was answered. A method that no endpoint has is one word, whatever it is.
    pub(crate) fn request(&self, method: &str, path: Option<&str>, status: u16, took: Duration) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];
        let known = METHODS.into_iter().find(|known| *known == method);
        let path = path.map(|path| Cow::Owned(path.to_owned()));
        let labels = [
            ("method", Cow::Borrowed(known.unwrap_or("other"))),
            ("path", path.unwrap_or(Cow::Borrowed("none"))),
            ("status", Cow::Owned(status.to_string())),
        ];
        let seconds = self.requests.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }

    /// The provider answered, or did not.
    pub(crate) fn provider_call(&self, call: &'static str, outcome: &'static str, took: Duration) {
        let labels = [("call", call), ("outcome", outcome)];
        let seconds = self.provider_calls.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn key(&self, key: Key) {
        let word = match key {
            Key::Issued => "issued",
            Key::NotIssued => "not_issued",
            Key::Revoked => "revoked",
            Key::NotRevoked => "not_revoked",
        };
        self.keys.get_or_create(&[("change", word)]).inc();
    }

    /// A step of a login by `way`.
    pub(crate) fn login(&self, way: &'static str, outcome: &'static str) {
        let labels = [("way", way), ("outcome", outcome)];
        self.logins.get_or_create(&labels).inc();
    }

    pub(crate) fn refused_token(&self, reason: &'static str) {
        self.refused_tokens
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    pub(crate) fn event_sent(&self, event: &'static str) {
        self.events_sent.get_or_create(&[("event", event)]).inc();
    }

    pub(crate) fn webhook(&self, sender: &'static str) {
        self.webhooks.get_or_create(&[("sender", sender)]).inc();
    }

    /// All of it as text, with what is only known when it is asked for. What the database knows
    /// is as it was where that does not answer.
    pub(crate) fn text(
        &self,
        now: Timestamp,
        streams: usize,
        connections: Connections,
        figures: Option<&Figures>,
    ) -> Option<String> {
        self.streams.set(number(streams));
        for (word, count) in [
            ("used", connections.open.saturating_sub(connections.idle)),
            ("idle", connections.idle),
            ("most", connections.most),
        ] {
            let gauge = self.connections.get_or_create(&[("state", word)]);
            gauge.set(number(count));
        }
        self.database.set(i64::from(figures.is_some()));
        if let Some(figures) = figures {
            self.live_mounts.set(figures.live_mounts);
            self.audit_rows.set(figures.audit_rows);
            for (kind, due) in figures.due {
                let since = due.oldest.map_or(now, |oldest| oldest.min(now));
                let age = now.micros().saturating_sub(since.micros()) / 1_000_000;
                self.due.get_or_create(&[("kind", kind)]).set(due.count);
                self.oldest_due.get_or_create(&[("kind", kind)]).set(age);
            }
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).ok().map(|()| text)
    }
}

fn seconds<Labels: Clone + std::hash::Hash + Eq>() -> Seconds<Labels> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

fn added<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
