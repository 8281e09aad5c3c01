//! The embedded store of a test, and what only its owner may do.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// A running store with the test kit's keys as its root keys; dropping it ends it.
pub(crate) struct Store {
    pub(crate) server: embedded::Server,
    pub(crate) data: tempfile::TempDir,
}

impl Store {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// With other options than usual.
    pub(crate) fn start_with(change: impl FnOnce(&mut embedded::Options)) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut options = embedded::Options::new(data.path());
        options.durability = embedded::Durability::Process;
        options.root = Some(embedded::AccessKey {
            id: testkit::ACCESS_KEY_ID.to_owned(),
            secret: testkit::SECRET_ACCESS_KEY.into(),
        });
        change(&mut options);
        let server = block_on(embedded::Server::start(options)).expect("a store");
        Self { server, data }
    }

    /// The same with this bucket in it.
    pub(crate) fn with_bucket(self, name: &str) -> Self {
        testkit::s3::create_bucket(&self.server.endpoint(), name).expect("a bucket");
        self
    }
}

/// Writes the roles, providers and MFA devices of the STS of the store in this folder.
pub(crate) fn put_settings(data: &Path, settings: &Value) {
    let path = data.join(embedded::STS_FILE);
    fs::write(&path, settings.to_string()).expect("written");
    super::chmod(&path, 0o600);
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}
