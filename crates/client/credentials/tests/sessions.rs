//! Sessions of an identity, as a mount's source of keys meets them: refused, near their end,
//! renewed while the keys below them change. The STS is a listener that numbers its sessions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use artifacts_credentials::keyring::{EntryName, Keyring, MemoryKeyring};
use artifacts_credentials::login::{Login, save_keys};
use artifacts_credentials::{
    Environment, Error, FieldValue, Identity, IdentityName, KeyProfile, KeySet, Paths, Place,
    StorageKeys,
};
use bucket::s3::KeySource;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A listener whose sessions are `ASIA1`, `ASIA2` and so on, and what it was asked.
struct Sts {
    endpoint: String,
    requests: Receiver<String>,
}

impl Sts {
    /// Each session lasts for so long; `meanwhile` is called before an answer is sent.
    fn start(lasting: Duration, meanwhile: impl Fn(u32) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let (sender, requests) = channel();
        std::thread::spawn(move || serve(&listener, lasting, &meanwhile, &sender));
        Self { endpoint, requests }
    }

    fn asked(&self) -> usize {
        self.requests.try_iter().count()
    }
}

fn serve(
    listener: &TcpListener,
    lasting: Duration,
    meanwhile: &impl Fn(u32),
    requests: &Sender<String>,
) {
    for (number, stream) in (1..).zip(listener.incoming()) {
        let mut stream = stream.expect("a connection");
        let request = read(&mut stream);
        // The test may have ended.
        let _ = requests.send(request);
        meanwhile(number);
        let body = answer(number, lasting);
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
    }
}

/// The head and what has come of the body: enough to tell one request from another.
fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 16 * 1024];
    let mut length = 0;
    while !buffer[..length].windows(7).any(|w| w == b"Action=") {
        match stream.read(&mut buffer[length..]).expect("readable") {
            0 => break,
            more => length += more,
        }
    }
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn answer(number: u32, lasting: Duration) -> String {
    let end = (OffsetDateTime::now_utc() + lasting).format(&Rfc3339);
    let end = end.expect("a time");
    format!(
        "<GetSessionTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetSessionTokenResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>session-secret</SecretAccessKey><SessionToken>session-token</SessionToken><Expiration>{end}</Expiration></Credentials></GetSessionTokenResult></GetSessionTokenResponse>"
    )
}

const HOUR: Duration = Duration::from_secs(3600);

fn name() -> IdentityName {
    "ada".parse().expect("a name")
}

fn keys(id: &str) -> KeySet {
    let value = |text| FieldValue::new(text, "test").expect("good");
    KeySet {
        access_key_id: value(id),
        secret_access_key: value("long-lived-secret"),
        session_token: None,
        expires: None,
    }
}

fn settings(endpoint: &str) -> Identity {
    Identity {
        endpoint: Some(endpoint.parse().expect("an endpoint")),
        ..Identity::default()
    }
}

fn keyring() -> Arc<MemoryKeyring> {
    let keyring = Arc::new(MemoryKeyring::new());
    save_keys(keyring.as_ref(), &name(), &keys("AKIAOLD")).expect("saved");
    keyring
}

fn chain(keyring: Arc<MemoryKeyring>, settings: Identity) -> StorageKeys {
    let environment = Environment::from_lookup(|_| None).expect("empty");
    let home = tempfile::tempdir().expect("a folder");
    StorageKeys::new(
        &Paths::under(home.path()),
        KeyProfile::default(),
        environment,
    )
    .kept_in(Place::Identity(keyring, name(), Box::new(settings)))
}

async fn id(chain: &StorageKeys, refused: Option<&str>) -> String {
    let keys = chain.keys(refused).await;
    keys.unwrap_or_else(|e| panic!("{e}")).access_key_id
}

#[tokio::test]
async fn a_refused_session_is_replaced_however_long_it_would_last() {
    let sts = Sts::start(HOUR, |_| ());
    let chain = chain(keyring(), settings(&sts.endpoint));
    assert_eq!(id(&chain, None).await, "ASIA1");
    assert_eq!(id(&chain, None).await, "ASIA1", "it lasts");
    assert_eq!(id(&chain, Some("ASIA1")).await, "ASIA2");
    assert_eq!(sts.asked(), 2);
    // Somebody else has replaced it already: it is not replaced again.
    assert_eq!(id(&chain, Some("ASIA1")).await, "ASIA2");
    // The store refuses the new one too: asking the STS with every call would not help.
    assert_eq!(id(&chain, Some("ASIA2")).await, "ASIA2");
    assert_eq!(sts.asked(), 0);
}

#[tokio::test]
async fn a_refused_session_that_needs_a_code_is_left_to_a_person() {
    let sts = Sts::start(HOUR, |_| ());
    let keyring = keyring();
    let settings = Identity {
        mfa_device: Some("GAHT12345678".into()),
        ..settings(&sts.endpoint)
    };
    let login = Login {
        name: &name(),
        settings: &settings,
        keyring: keyring.as_ref(),
        mfa_code: Some("123456".into()),
    };
    login.begin().await.expect("a session");
    let chain = chain(keyring, settings.clone());
    assert_eq!(id(&chain, Some("ASIA1")).await, "ASIA1");
    assert_eq!(sts.asked(), 1);
}

#[tokio::test]
async fn an_sts_that_is_away_is_a_trouble_that_passes() {
    let port = testkit::ports::free().expect("a port");
    let endpoint = format!("http://127.0.0.1:{port}");
    let chain = chain(keyring(), settings(&endpoint));
    match chain.keys(None).await {
        Err(bucket::Error::Unreachable {
            endpoint: told,
            reason,
        }) => {
            assert_eq!(told.trim_end_matches('/'), endpoint);
            assert!(reason.contains("Connection refused"), "{reason}");
            assert!(!reason.contains("DispatchFailure"), "{reason}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("keys from nowhere"),
    }
}

#[tokio::test]
async fn a_session_near_its_end_is_used_while_the_sts_is_away() {
    let keyring = keyring();
    let port = testkit::ports::free().expect("a port");
    let settings = settings(&format!("http://127.0.0.1:{port}"));
    let now = OffsetDateTime::now_utc();
    let session = KeySet {
        expires: Some(now + Duration::from_secs(120)),
        ..keys("ASIAOLD")
    };
    let entry = EntryName::session(&name());
    keyring.store(&entry, &session.to_secret()).expect("kept");
    let found = chain(keyring, settings).keys(None).await;
    let found = found.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.access_key_id, "ASIAOLD");
    let end = found.expires.expect("a session ends");
    let left = end.duration_since(std::time::SystemTime::now());
    let left = left.expect("not over").as_secs();
    assert!((100..=120).contains(&left), "the true end: {left} s");
}

/// The keys are replaced between the request to the STS and its answer.
#[tokio::test]
async fn a_session_of_replaced_keys_is_dropped_and_one_of_the_new_keys_begun() {
    let keyring = keyring();
    let rotated = keyring.clone();
    let sts = Sts::start(HOUR, move |number| {
        if number == 1 {
            save_keys(rotated.as_ref(), &name(), &keys("AKIANEW")).expect("saved");
        }
    });
    let chain = chain(keyring.clone(), settings(&sts.endpoint));
    assert_eq!(id(&chain, None).await, "ASIA2");
    let requests: Vec<String> = sts.requests.try_iter().collect();
    assert!(requests[0].contains("Credential=AKIAOLD/"));
    assert!(requests[1].contains("Credential=AKIANEW/"));
}

#[tokio::test]
async fn a_code_is_not_used_for_two_sets_of_keys() {
    let keyring = keyring();
    let rotated = keyring.clone();
    let sts = Sts::start(HOUR, move |_| {
        save_keys(rotated.as_ref(), &name(), &keys("AKIANEW")).expect("saved");
    });
    let settings = Identity {
        mfa_device: Some("GAHT12345678".into()),
        ..settings(&sts.endpoint)
    };
    let login = Login {
        name: &name(),
        settings: &settings,
        keyring: keyring.as_ref(),
        mfa_code: Some("123456".into()),
    };
    let refused = login.begin().await.err();
    assert_eq!(refused, Some(Error::KeysChanged { name: name() }));
    assert!(login.saved().expect("read").is_none(), "nothing was saved");
}

#[tokio::test]
async fn a_role_sessions_name_is_never_too_long() {
    let sts = Sts::start(HOUR, |_| ());
    let long: IdentityName = "i".repeat(63).parse().expect("a name");
    let keyring = MemoryKeyring::new();
    save_keys(&keyring, &long, &keys("AKIA")).expect("saved");
    let settings = Identity {
        role_arn: Some("arn:aws:iam::1:role/Ops".into()),
        ..settings(&sts.endpoint)
    };
    let login = Login {
        name: &long,
        settings: &settings,
        keyring: &keyring,
        mfa_code: None,
    };
    // The listener's answer is to another question; what was asked counts.
    let _ = login.begin().await;
    let request = sts.requests.recv().expect("a request");
    let name = request.split("RoleSessionName=").nth(1).expect("a name");
    let name = name.split('&').next().expect("its end");
    assert_eq!(name, format!("artifacts-{}", "i".repeat(54)));
}
