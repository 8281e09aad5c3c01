//! With the registry of signed documents, as it is outside of tests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::issuer::Issuer;
use common::stream::Stream;
use common::{Broker, Person, id, new_key};
use model::Actor;
use registry::Registry;
use registry::documents::{
    DeviceEntry, DocumentRegistry, DocumentSettings, EPOCH_FILE, EPOCH_TYPE, EpochDocument,
    FRESH_FOR, OPERATOR_TYPE, OperatorDocument, Pins, ScopeEntry, Source, operator_file, sign,
};
use serde_json::json;
use vault::{DeviceKey, SignEs256};

/// What an operator has: a folder of documents, and the keys that sign them.
struct Office {
    folder: tempfile::TempDir,
    key: DeviceKey,
    deployment: DeviceKey,
}

impl Office {
    fn open() -> Self {
        let office = Self {
            folder: tempfile::tempdir().unwrap(),
            key: new_key(),
            deployment: new_key(),
        };
        std::fs::create_dir(office.folder.path().join("documents")).unwrap();
        let epoch = EpochDocument {
            version: 1,
            epoch: 1,
        };
        office.put(
            EPOCH_FILE,
            sign(EPOCH_TYPE, &epoch, &office.deployment).unwrap(),
        );
        office
    }

    fn pin(&self, operators: impl IntoIterator<Item = Actor>) {
        let public = |key: &DeviceKey| key.public_jwk().clone();
        let operators = operators
            .into_iter()
            .map(|actor| (actor, public(&self.key)));
        let pins = Pins::new(public(&self.deployment), operators).unwrap();
        std::fs::write(self.folder.path().join("pins.json"), pins.to_json()).unwrap();
    }

    /// Whole or as before, as whoever publishes documents puts them.
    fn put(&self, name: &str, text: String) {
        let folder = self.folder.path();
        std::fs::write(folder.join("partial"), text).unwrap();
        std::fs::rename(folder.join("partial"), folder.join("documents").join(name)).unwrap();
    }

    fn publish(&self, document: &OperatorDocument) {
        let text = sign(OPERATOR_TYPE, document, &self.key).unwrap();
        self.put(&operator_file(&document.operator), text);
    }

    fn registry(&self) -> DocumentRegistry {
        let folder = self.folder.path();
        let settings = DocumentSettings {
            source: Source::Folder(folder.join("documents")),
            pins: folder.join("pins.json"),
            seen: folder.join("seen.json"),
            fresh_for: FRESH_FOR,
        };
        DocumentRegistry::open(settings).unwrap()
    }
}

#[tokio::test]
async fn a_scope_that_is_taken_out_of_the_document_is_heard_within_a_second() {
    let office = Office::open();
    let pinned = |issuer: &Issuer| -> Arc<dyn Registry> {
        office.pin([Actor::from_oidc(&issuer.url, "ada").unwrap()]);
        Arc::new(office.registry())
    };
    let broker = Broker::start_on(pinned).await;
    let (actor, key) = (broker.actor("ada"), new_key());
    let mut document = OperatorDocument::empty(actor.clone());
    document.version = 1;
    document.devices.push(DeviceEntry {
        device: id(&key),
        actor: actor.clone(),
        roles: 3,
        tier: 0,
        registered_at: 0,
        revoked: false,
    });
    document.scopes.push(ScopeEntry {
        actor: actor.clone(),
        service: "openrouter".parse().unwrap(),
        read_only: false,
    });
    office.publish(&document);
    let ada = Person {
        token: broker.login("ada").await,
        operator: actor.clone(),
        actor: actor.clone(),
        key,
    };
    let body = json!({ "service": "openrouter" });
    broker.cap(&ada, "fetch", &body).await.done();
    let mut stream = Stream::open(&broker, &actor, &ada.token, None).await;
    stream.begin().await;
    // Time enough for a look or two at the document as it was.
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().event, None);
    }
    document.version = 2;
    document.scopes.clear();
    office.publish(&document);
    let since = Instant::now();
    let heard = stream.event().await.unwrap();
    let took = since.elapsed();
    assert_eq!(heard.data["kind"], "drop");
    assert_eq!(heard.data["service"], "openrouter");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let refused = broker.cap(&ada, "fetch", &body).await;
    refused.is_refused(403, "scope_denied");
}
