//! A store of its own for each test, with the testkit's keys.
#![allow(dead_code, reason = "each test binary uses its part")]

use artifacts_embedded::{AccessKey, Durability, Options, Server};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// A running store in a folder that goes with it.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) folder: TempDir,
}

/// The bucket that every lab begins with.
pub(crate) const BUCKET: &str = "lab-bucket";

impl Lab {
    /// Starts a store with [`BUCKET`] in it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = AccessKey {
            id: testkit::ACCESS_KEY_ID.into(),
            secret: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        };
        let options = Options {
            root: Some(root),
            durability: Durability::Process,
            ..Options::new(folder.path())
        };
        let server = Server::start(options).await.unwrap();
        let client = testkit::s3::client(&server.endpoint());
        client.create_bucket().bucket(BUCKET).send().await.unwrap();
        Self {
            server,
            client,
            folder,
        }
    }

    /// Stops the store and starts it on the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, folder, .. } = self;
        server.stop().await;
        let server = Server::start(Options::new(folder.path())).await.unwrap();
        let client = testkit::s3::client(&server.endpoint());
        Self {
            server,
            client,
            folder,
        }
    }

    /// A client of a new key with this policy, and the key's id.
    pub(crate) fn client_with(&self, policy: &str) -> (Client, String) {
        let key = self.server.keys().add(policy).unwrap();
        (self.client_of(&key.id, key.secret.expose_secret()), key.id)
    }

    /// A client with this key.
    pub(crate) fn client_of(&self, id: &str, secret: &str) -> Client {
        let credentials = Credentials::new(id, secret, None, None, "test");
        let config = self
            .client
            .config()
            .to_builder()
            .credentials_provider(credentials)
            .build();
        Client::from_conf(config)
    }

    /// Puts a small object and answers its ETag.
    pub(crate) async fn put(&self, key: &str, body: &'static [u8]) -> String {
        let put = self
            .client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(body.to_vec().into());
        put.send().await.unwrap().e_tag.unwrap()
    }

    /// Reads an object whole.
    pub(crate) async fn read(&self, key: &str) -> Vec<u8> {
        let got = self
            .client
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        got.body.collect().await.unwrap().to_vec()
    }
}

/// The S3 code and HTTP status of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E>>,
) -> (String, u16) {
    let Err(error) = result else {
        panic!("not refused")
    };
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    (error.code().unwrap_or_default().to_owned(), status)
}

/// A GET by hand, with no client that could add anything; answers the whole response.
pub(crate) async fn plain_get(url: &str) -> String {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    converse(host, &request).await
}

/// A form posted by hand to `/`; each header ends its line.
pub(crate) async fn plain_post(endpoint: &str, headers: &str, form: &str) -> String {
    let host = endpoint.strip_prefix("http://").unwrap();
    let length = form.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{form}"
    );
    converse(host, &request).await
}

async fn converse(host: &str, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
