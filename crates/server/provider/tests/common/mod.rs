//! Stores to test against, and what every test does with them.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod conformance;
pub(crate) mod gate;

use std::sync::Arc;
use std::time::Duration;

use artifacts_provider::verify::Reach;
use artifacts_provider::{
    Access, AdminKeys, BucketName, Config, Endpoint, Grant, Kind, Prefix, Provider, Scope, open,
};
use testkit::seaweedfs::SeaweedFs;
use uuid::Uuid;

/// An embedded store in a folder that goes with it.
pub(crate) struct Embedded {
    pub(crate) server: embedded::Server,
    _folder: tempfile::TempDir,
}

impl Embedded {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = embedded::AccessKey {
            id: testkit::ACCESS_KEY_ID.into(),
            secret: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        };
        let options = embedded::Options {
            root: Some(root),
            durability: embedded::Durability::Process,
            ..embedded::Options::new(folder.path())
        };
        Self {
            server: embedded::Server::start(options).await.unwrap(),
            _folder: folder,
        }
    }

    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        provider(Kind::Embedded, &self.server.endpoint())
    }
}

/// SeaweedFS with its IAM API switched on.
pub(crate) fn seaweedfs() -> SeaweedFs {
    let iam = serde_json::json!({
        "sts": { "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "testkit",
                 "signingKey": "dGVzdGtpdC1zaWduaW5nLWtleS1vZi0zMi1ieXRlcw==" },
        "policy": { "defaultEffect": "Deny", "storeType": "memory" },
    });
    let options = testkit::seaweedfs::Options {
        iam: Some(iam),
        ..Default::default()
    };
    SeaweedFs::start_with(options).unwrap()
}

/// The testkit's administrator.
pub(crate) fn admin() -> AdminKeys {
    AdminKeys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        session_token: None,
    }
}

/// A provider of a kind for the store at this address.
pub(crate) fn provider(kind: Kind, endpoint: &str) -> Arc<dyn Provider> {
    provider_with(kind, endpoint, Duration::from_secs(20))
}

pub(crate) fn provider_with(kind: Kind, endpoint: &str, patience: Duration) -> Arc<dyn Provider> {
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let config = Config {
        endpoint: Some(endpoint.clone()),
        iam_endpoint: (kind != Kind::Generic).then_some(endpoint),
        region: Some(testkit::REGION.into()),
        patience,
        ..Config::new(kind, admin())
    };
    open(config).unwrap()
}

/// How the holders of keys reach the store.
pub(crate) fn reach(provider: &dyn Provider) -> Reach {
    Reach {
        place: provider.place().clone(),
        ca_pem: None,
        patience: Duration::from_secs(20),
    }
}

pub(crate) fn bucket(name: &str) -> BucketName {
    name.parse().unwrap()
}

pub(crate) fn grant(credential: u128, bucket: &str, prefix: Option<&str>, access: Access) -> Grant {
    Grant {
        credential: Uuid::from_u128(credential),
        scope: Scope {
            bucket: bucket.parse().unwrap(),
            prefix: prefix.map(|prefix| prefix.parse::<Prefix>().unwrap()),
            access,
        },
    }
}
