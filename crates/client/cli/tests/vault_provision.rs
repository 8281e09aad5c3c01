//! `artifacts vault provision` on the embedded store, with a listener in the broker's place that
//! gives tokens as the broker does.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use model::Actor;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use support::Machine;
use support::store::Store;
use testkit::seaweedfs::{Options, SeaweedFs};
use testkit::tools::Tool;
use vault::{DeviceKey, SignEs256, VerifyKeys, WebIdentity, mint_web_identity};

const BUCKET: &str = "vault-bucket";

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Discovery, keys, a login for the one-time token, and web identities of one actor.
fn broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let key = Arc::new(DeviceKey::generate().expect("a key"));
    let actor = Actor::from_oidc("https://id.example.com", "ada").expect("an actor");
    let issuer = url.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut asked = [0; 16 * 1024];
            let length = stream.read(&mut asked).unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let body = answer(&asked, &issuer, &key, &actor).to_string();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    url
}

fn answer(asked: &str, issuer: &str, key: &DeviceKey, actor: &Actor) -> Value {
    let path = asked.split(' ').nth(1).unwrap_or_default();
    match path {
        "/.well-known/openid-configuration" => {
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks.json")})
        }
        "/jwks.json" => {
            let keys = VerifyKeys::from_keys([key.public_jwk().clone()]);
            keys.expect("keys").jwks()
        }
        "/v1/bootstrap" => {
            let claims = json!({"sub": actor, "operator": actor, "exp": now() + 3600}).to_string();
            let claims = base64_simd::URL_SAFE_NO_PAD.encode_to_string(claims);
            json!({
                "access_token": format!("e30.{claims}.e30"), "token_type": "Bearer",
                "expires_in": 3600, "scope": "tenant",
            })
        }
        "/v1/mint-oidc-jwt" => {
            let identity = WebIdentity {
                iss: issuer.to_owned(),
                actor: actor.clone(),
                iat: now(),
                jti: uuid::Uuid::new_v4().simple().to_string(),
            };
            let token = mint_web_identity(&identity, key).expect("a token");
            json!({"token": token.expose_secret(), "expires_in": 300})
        }
        other => panic!("asked for {other}"),
    }
}

fn machine(store: &Store, broker: &str) -> Machine {
    let mut machine = Machine::new();
    machine
        .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY)
        .set("ARTIFACTS_VAULT_ENDPOINT", &store.server.endpoint())
        .set("ARTIFACTS_VAULT_BUCKET", BUCKET)
        .set("ARTIFACTS_VAULT_BROKER", broker);
    machine
}

fn outcomes(machine: &Machine) -> Vec<String> {
    let said = machine.run("vault provision --apply --expire-days 30 --format json");
    let steps: Value = serde_json::from_str(&said.ok()).expect("JSON");
    let steps = steps.as_array().expect("a list").iter();
    let outcome = |step: &Value| step["outcome"].as_str().unwrap_or_default().to_owned();
    steps.map(outcome).collect()
}

#[test]
fn what_is_planned_is_applied_and_shown_to_hold_until_something_is_planted() {
    let (store, broker) = (Store::start(), broker());
    let machine = machine(&store, &broker);
    let plan = machine
        .run("vault provision --plan --expire-days 30 --format json")
        .ok();
    let plan: Vec<Value> = serde_json::from_str(&plan).expect("JSON");
    let steps: Vec<&str> = plan
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    let all = [
        "bucket",
        "bucket_policy",
        "lifecycle",
        "provider",
        "role",
        "role_policy",
    ];
    assert_eq!(steps, all);
    let text = machine.run("vault provision --plan").ok();
    assert!(
        text.contains("policy artifacts-vault-own-prefix of role artifacts-vault"),
        "{text}"
    );
    assert_eq!(outcomes(&machine), ["made"; 6]);
    assert_eq!(outcomes(&machine), ["already so"; 6]);

    let unknown = machine.run("vault provision --verify");
    assert_eq!(unknown.code, 3, "{}", unknown.err);
    machine
        .run_with_input("vault login --bootstrap", "one-time\n")
        .ok();
    let report = machine.run("vault provision --verify --format json").ok();
    let checks: Vec<Value> = serde_json::from_str(&report).expect("JSON");
    assert!(checks.len() > 60 && checks.iter().all(|check| check["verdict"] == "passed"));

    let client = testkit::s3::client(&store.server.endpoint());
    let policy = plan[1]["document"].clone();
    let mut planted = policy.clone();
    let open = json!({"Sid": "Planted", "Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{BUCKET}/*")});
    planted["Statement"]
        .as_array_mut()
        .expect("a list")
        .push(open);
    let set = client
        .put_bucket_policy()
        .bucket(BUCKET)
        .policy(planted.to_string());
    support::store::block_on(set.send()).expect("set");
    let failed = machine.run("vault provision --verify");
    assert_eq!(failed.code, 1, "{}", failed.out);
    assert!(
        failed.err.contains("other statements: Planted"),
        "{}",
        failed.err
    );
}

/// A store that cannot be asked what else it grants.
#[test]
fn seaweedfs_is_shown_with_its_file_and_left_undone_without() {
    let _weed = testkit::require!(Tool::Weed);
    let broker = broker();
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_VAULT_ENDPOINT", "http://127.0.0.1:9")
        .set("ARTIFACTS_VAULT_BUCKET", BUCKET)
        .set("ARTIFACTS_VAULT_BROKER", &broker);
    let plan = machine.run("vault provision --plan --store seaweedfs --format json");
    let plan: Vec<Value> = serde_json::from_str(&plan.ok()).expect("JSON");
    let mut iam = plan.last().expect("a step")["document"].clone();
    iam["sts"] = json!({
        "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
        "signingKey": base64_simd::STANDARD.encode_to_string([7; 32]),
    });
    let options = Options {
        iam: Some(iam.clone()),
        ..Options::default()
    };
    let weed = SeaweedFs::start_with(options).expect("a store");
    weed.create_bucket(BUCKET).expect("a bucket");
    machine.set("ARTIFACTS_VAULT_ENDPOINT", &weed.endpoint());
    machine
        .run_with_input("vault login --bootstrap", "one-time\n")
        .ok();

    let unseen = machine.run("vault provision --verify --store seaweedfs");
    assert_eq!(unseen.code, 8, "{}", unseen.err);
    let left = "not checked: no other role, policy or provider grants more";
    assert!(unseen.err.contains(left), "{}", unseen.err);
    assert!(unseen.err.contains("--iam-json FILE"), "{}", unseen.err);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("iam.json");
    let verify = format!(
        "vault provision --verify --store seaweedfs --iam-json {}",
        path.display()
    );
    assert_eq!(machine.run(&verify).code, 1, "there is no file yet");
    std::fs::write(&path, iam.to_string()).expect("written");
    machine.run(&verify).ok();
    let mut role = iam["roles"][0].clone();
    role["roleName"] = json!("planted");
    iam["roles"].as_array_mut().expect("a list").push(role);
    std::fs::write(&path, iam.to_string()).expect("written");
    let found = machine.run(&verify);
    assert_eq!(found.code, 1, "{}", found.err);
    let named = "artifacts-vault and no other: it has others beside: planted";
    assert!(found.err.contains(named), "{}", found.err);
}

#[test]
fn seaweedfs_gets_a_file_and_wrong_options_are_refused() {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_VAULT_ENDPOINT", "http://127.0.0.1:9")
        .set("ARTIFACTS_VAULT_BUCKET", BUCKET)
        .set("ARTIFACTS_VAULT_BROKER", "https://broker.example.com");
    let plan = machine
        .run("vault provision --plan --store seaweedfs --format json")
        .ok();
    let plan: Vec<Value> = serde_json::from_str(&plan).expect("JSON");
    let file = &plan.last().expect("a step")["document"];
    assert_eq!(
        file["roles"][0]["roleArn"],
        "arn:aws:iam::role/artifacts-vault"
    );
    for line in [
        "vault provision",
        "vault provision --plan --apply",
        "vault provision --plan --store minio",
        "vault provision --plan --expire-days 0",
        "vault provision --plan --role-arn vault",
        "vault provision --plan --store aws",
        "vault provision --plan --store seaweedfs --iam-json iam.json",
        "vault provision --verify --iam-json iam.json",
    ] {
        let refused = machine.run(line);
        assert_eq!(refused.code, 2, "{line}: {}", refused.err);
    }
    let no_keys = machine.run("vault provision --apply");
    assert_eq!(no_keys.code, 3, "{}", no_keys.err);
}
