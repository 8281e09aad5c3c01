#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};

use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{SolCall, SolValue};
use serde_json::{Value, json};

use super::abi::{CredentialAudit, DeviceRegistry, EpochCounter, ScopeContract};
use super::*;

/// What a scripted RPC says.
#[derive(Clone)]
struct Script {
    chain: u64,
    number: u64,
    /// It has blocks of its own.
    fork: u64,
    /// The number of the next block that is answered as the newest, once.
    slip: Option<u64>,
    age: u64,
    /// The time of its blocks, where it is not their age.
    time: Option<u64>,
    /// Until when it does not know its own newest block by its hash.
    lags_until: Option<Instant>,
    /// Another block than the one it knows, which is its newest: number and time.
    newer: Option<(u64, u64)>,
    epoch: Bytes,
    in_scope: bool,
    /// Answers so many requests with 500 first.
    failing: u32,
    /// Leaves the last call of a batch out.
    short: bool,
    rounds: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            chain: 31337,
            number: 5,
            fork: 0,
            slip: None,
            age: 0,
            time: None,
            lags_until: None,
            newer: None,
            epoch: alloy_primitives::U256::from(3).abi_encode().into(),
            in_scope: true,
            failing: 0,
            short: false,
            rounds: 0,
        }
    }
}

struct Scripted {
    url: String,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v3/very-secret", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || while answer(&stream, &shared).is_some() {});
            }
        });
        Self { url, script }
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock());
    }
}

fn answer(stream: &TcpStream, shared: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let calls: Vec<Value> = serde_json::from_slice(&body).ok()?;
    let mut script = shared.lock();
    script.rounds += 1;
    let mut stream = stream;
    if script.failing > 0 {
        script.failing -= 1;
        write!(stream, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").ok()?;
        return Some(());
    }
    let mut told: Vec<Value> = calls.iter().map(|call| one(call, &mut script)).collect();
    // In any order.
    told.reverse();
    if script.short {
        told.remove(0);
    }
    let body = Value::from(told).to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .ok()
}

fn hash(number: u64, fork: u64) -> Value {
    let word = [fork.to_be_bytes(), [0; 8], [0; 8], number.to_be_bytes()].concat();
    json!(B256::from_slice(&word).to_string())
}

/// The number of a block that it has.
fn known(hash: &Value, script: &Script) -> Option<u64> {
    let word = bytes(hash).unwrap();
    let number = |part: &[u8]| u64::from_be_bytes(part.try_into().unwrap());
    let (fork, number) = (number(&word[..8]), number(&word[24..]));
    (fork == script.fork && number <= script.number).then_some(number)
}

/// One clock for all scripted RPCs: they have the same blocks.
static NOW: LazyLock<u64> = LazyLock::new(|| {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
});

fn block(number: u64, script: &Script) -> Value {
    json!({
        "hash": hash(number, script.fork),
        "number": format!("{number:#x}"),
        "timestamp": format!("{:#x}", script.time.unwrap_or(*NOW - script.age)),
        "transactions": [],
    })
}

fn one(call: &Value, script: &mut Script) -> Value {
    let lags = script
        .lags_until
        .is_some_and(|until| Instant::now() < until);
    let result = match call["method"].as_str().unwrap() {
        "eth_chainId" => json!(format!("{:#x}", script.chain)),
        "eth_getBlockByNumber" => {
            if let Some((number, time)) = script.newer {
                let newest = Script {
                    time: Some(time),
                    ..script.clone()
                };
                block(number, &newest)
            } else {
                let number = script.slip.take().unwrap_or(script.number);
                block(number, script)
            }
        }
        "eth_getBlockByHash" => match known(&call["params"][0], script) {
            Some(number) if !(lags && number == script.number) => block(number, script),
            _ => Value::Null,
        },
        _ => {
            assert!(
                known(&call["params"][1]["blockHash"], script).is_some(),
                "of one block"
            );
            let data = bytes(&call["params"][0]["data"]).unwrap();
            let selector: [u8; 4] = data[..4].try_into().unwrap();
            let told: Bytes = match selector {
                EpochCounter::currentEpochCall::SELECTOR => script.epoch.clone(),
                ScopeContract::isServiceInScopeCall::SELECTOR => {
                    (script.in_scope, false).abi_encode().into()
                }
                // A device that nobody registered.
                _ => vec![0; 192].into(),
            };
            json!(told.to_string())
        }
    };
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
}

fn reader(servers: &[&Scripted], oldest_head: Option<Duration>) -> ChainRegistry {
    ChainRegistry::open(ChainSettings {
        rpc: servers.iter().map(|s| s.url.parse().unwrap()).collect(),
        chain_id: 31337,
        device_registry: Address::with_last_byte(1),
        scope_contract: Address::with_last_byte(2),
        epoch_counter: Address::with_last_byte(3),
        fresh_for: Duration::from_millis(100),
        oldest_head,
    })
    .unwrap()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Unavailable>, words: &str) {
    let Unavailable(reason) = answer.unwrap_err();
    assert!(reason.contains(words), "expected {words:?}, got {reason:?}");
    assert!(!reason.contains("secret"), "{reason:?}");
}

async fn stale() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn one_request_costs_two_rounds_and_the_next_none() {
    let server = Scripted::start(Script::default());
    let reader = reader(&[&server], None);
    let operator = Actor::from_oidc("https://accounts.example", "ada").unwrap();
    let (device, service) = (DeviceId::new([1; 32]), "openrouter".parse().unwrap());
    let question = Question {
        operator: &operator,
        actor: &operator,
        device: &device,
        service: Some(&service),
    };
    let answers = reader.answers(&question).await.unwrap();
    assert_eq!(answers.device, None);
    assert!(answers.scope.unwrap().in_scope);
    assert_eq!(answers.epoch, 3);
    // The first block of all is asked for twice.
    assert_eq!(server.script.lock().rounds, 3);
    assert_eq!(reader.answers(&question).await.unwrap(), answers);
    assert_eq!(server.script.lock().rounds, 3);
    // While the block stays the same, only it is asked for.
    stale().await;
    assert_eq!(reader.answers(&question).await.unwrap(), answers);
    assert_eq!(server.script.lock().rounds, 4);
    server.change(|s| (s.number, s.in_scope) = (6, false));
    stale().await;
    assert_eq!(
        reader.answers(&question).await.unwrap().scope,
        Some(Scope::NONE)
    );
    assert_eq!(server.script.lock().rounds, 6);
}

#[tokio::test]
async fn another_chain_is_refused_whenever_it_answers() {
    let good = Scripted::start(Script::default());
    let lying = Scripted::start(Script {
        chain: 1,
        ..Script::default()
    });
    let words = "is of chain 1, not 31337";
    refused(reader(&[&lying], None).current_epoch().await, words);
    refused(reader(&[&good, &lying], None).check().await, words);
    let reader = reader(&[&good], None);
    reader.check().await.unwrap();
    assert_eq!(reader.current_epoch().await.unwrap(), 3);
    good.change(|s| s.chain = 1);
    stale().await;
    refused(reader.current_epoch().await, words);
}

#[tokio::test]
async fn of_two_the_one_of_the_right_chain_is_asked() {
    let (good, lying) = (
        Scripted::start(Script::default()),
        Scripted::start(Script {
            chain: 1,
            epoch: alloy_primitives::U256::from(9).abi_encode().into(),
            ..Script::default()
        }),
    );
    for servers in [[&good, &lying], [&lying, &good]] {
        assert_eq!(reader(&servers, None).current_epoch().await.unwrap(), 3);
    }
    good.change(|s| s.chain = 1);
    let words = "is of chain 1, not 31337";
    refused(reader(&[&good, &lying], None).current_epoch().await, words);
}

#[tokio::test]
async fn two_that_contradict_each_other_are_not_believed() {
    let (one, other) = (
        Scripted::start(Script::default()),
        Scripted::start(Script::default()),
    );
    let both = || reader(&[&one, &other], Some(OLDEST_HEAD));
    let ask = async || both().current_epoch().await;
    assert_eq!(ask().await.unwrap(), 3);

    other.change(|s| s.epoch = alloy_primitives::U256::from(2).abi_encode().into());
    refused(ask().await, "they answer differently what block");
    other.change(|s| *s = Script::default());

    other.change(|s| s.fork = 1);
    refused(
        ask().await,
        "block 5 as the newest, which the other does not know",
    );
    other.change(|s| *s = Script::default());

    one.change(|s| s.age = 40);
    refused(ask().await, "block 5 is another one to one of them");
    let now = *NOW;
    one.change(|s| s.time = Some(now));
    other.change(|s| s.time = Some(now));
    assert_eq!(ask().await.unwrap(), 3);

    // It is behind by a block, which the first one has.
    other.change(|s| s.number = 4);
    let behind = both();
    assert_eq!(behind.current_epoch().await.unwrap(), 3);
    stale().await;
    other.change(|s| s.number = 3);
    refused(behind.current_epoch().await, "does not know");
    other.change(|s| (s.number, s.fork) = (4, 1));
    refused(ask().await, "does not know");
    other.change(|s| (s.number, s.fork) = (5, 0));
    // It knows the block in a moment.
    other.change(|s| s.lags_until = Some(Instant::now() + Duration::from_millis(250)));
    assert_eq!(ask().await.unwrap(), 3);
    // Who does not answer says nothing against it.
    other.change(|s| s.failing = 1000);
    assert_eq!(ask().await.unwrap(), 3);
}

#[tokio::test]
async fn one_that_keeps_newer_blocks_back_is_told_by_the_other() {
    let (one, other) = (
        Scripted::start(Script::default()),
        Scripted::start(Script::default()),
    );
    let now = *NOW;
    one.change(|s| s.time = Some(now - 31));
    // It has the other's block, and one that is 31 s younger.
    other.change(|s| s.time = Some(now - 31));
    let both = reader(&[&one, &other], Some(OLDEST_HEAD));
    assert_eq!(both.current_epoch().await.unwrap(), 3);
    other.change(|s| s.newer = Some((20, now)));
    stale().await;
    refused(both.current_epoch().await, "keeps newer blocks back");
}

#[tokio::test]
async fn a_time_to_come_is_not_believed_and_stops_nothing() {
    let server = Scripted::start(Script::default());
    let strict = reader(&[&server], Some(OLDEST_HEAD));
    let now = *NOW;
    for time in [u64::MAX, i64::MAX as u64 + 1, i64::MAX as u64, now + 70] {
        server.change(|s| s.time = Some(time));
        refused(strict.current_epoch().await, "is of a time to come");
        // A chain that does not follow the clock is not measured by it.
        assert_eq!(reader(&[&server], None).current_epoch().await.unwrap(), 3);
        stale().await;
    }
    server.change(|s| s.time = Some(now + 30));
    assert_eq!(strict.current_epoch().await.unwrap(), 3);
}

#[tokio::test]
async fn one_wrong_number_does_not_make_the_right_ones_look_old() {
    let server = Scripted::start(Script::default());
    let slip = || server.change(|s| s.slip = Some(u64::MAX));
    let reader = reader(&[&server], None);
    for _ in 0..2 {
        // The first block of all, then one far above the last.
        slip();
        let words = "the RPC answers block 18446744073709551615, then block 5";
        refused(reader.current_epoch().await, words);
        stale().await;
        assert_eq!(reader.current_epoch().await.unwrap(), 3);
        stale().await;
    }
    // A chain that went far ahead meanwhile says so twice.
    server.change(|s| s.number = 5_000);
    assert_eq!(reader.current_epoch().await.unwrap(), 3);
}

#[tokio::test]
async fn a_number_that_was_insisted_on_is_forgotten_in_time() {
    let server = Scripted::start(Script {
        number: u64::MAX,
        ..Script::default()
    });
    let mut reader = reader(&[&server], None);
    reader.head.forget_after = Duration::from_millis(900);
    assert_eq!(reader.current_epoch().await.unwrap(), 3);
    server.change(|s| s.number = 5);
    stale().await;
    let begun = Instant::now();
    refused(
        reader.current_epoch().await,
        "it answers block 5, but block",
    );
    while let Err(Unavailable(reason)) = reader.current_epoch().await {
        assert!(reason.contains("but block"), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(4), "still refused");
        stale().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_failure_is_tried_again_and_the_other_endpoint_asked() {
    let (one, other) = (
        Scripted::start(Script::default()),
        Scripted::start(Script::default()),
    );
    one.change(|s| s.failing = 3);
    assert_eq!(reader(&[&one], None).current_epoch().await.unwrap(), 3);
    one.change(|s| s.failing = 4);
    refused(
        reader(&[&one], None).current_epoch().await,
        "it answers 500",
    );
    one.change(|s| s.failing = 1000);
    let both = reader(&[&one, &other], None);
    both.check().await.unwrap();
    for _ in 0..3 {
        assert_eq!(both.current_epoch().await.unwrap(), 3);
        stale().await;
    }
    let asked = one.script.lock().rounds;
    stale().await;
    assert_eq!(both.current_epoch().await.unwrap(), 3);
    assert_eq!(
        one.script.lock().rounds,
        asked,
        "who answered last is asked first"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_not_believed() {
    let server = Scripted::start(Script {
        short: true,
        ..Script::default()
    });
    refused(
        reader(&[&server], None).current_epoch().await,
        "without an answer",
    );
    for (epoch, words) in [
        (Bytes::new(), "there is no such contract"),
        (Bytes::from(vec![0; 32]), "0 is no epoch"),
        (Bytes::from(vec![0xff; 32]), "is no epoch"),
        (Bytes::from(vec![1; 31]), "another answer than expected"),
        (
            Bytes::from([[0; 31].as_slice(), &[3], &[0; 32]].concat()),
            "it is not as contracts write it",
        ),
    ] {
        server.change(|s| (s.short, s.epoch) = (false, epoch));
        refused(reader(&[&server], None).current_epoch().await, words);
    }
}

#[tokio::test]
async fn a_chain_that_stands_still_or_goes_back_is_not_believed() {
    let server = Scripted::start(Script {
        age: 400,
        ..Script::default()
    });
    let strict = reader(&[&server], Some(OLDEST_HEAD));
    refused(
        strict.current_epoch().await,
        "has stopped following the chain",
    );
    let reader = reader(&[&server], None);
    assert_eq!(reader.current_epoch().await.unwrap(), 3);
    server.change(|s| s.number = 4);
    stale().await;
    refused(
        reader.current_epoch().await,
        "block 4, but block 5 was seen",
    );
    server.change(|s| s.number = 6);
    stale().await;
    assert_eq!(reader.current_epoch().await.unwrap(), 3);
}

#[tokio::test]
async fn a_dead_endpoint_is_given_up_within_two_seconds_by_a_whole_crowd() {
    // Accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/very-secret", silent.local_addr().unwrap());
    let gone = Scripted {
        url,
        script: Arc::default(),
    };
    let reader = Arc::new(reader(&[&gone], None));
    let begun = Instant::now();
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { reader.current_epoch().await })
        })
        .collect();
    for one in crowd {
        refused(one.await.unwrap(), "no answer in time");
    }
    assert!(
        begun.elapsed() < Duration::from_millis(2_300),
        "{:?}",
        begun.elapsed()
    );
}

/// These tests again, in an environment whose proxy is not there.
#[test]
fn what_is_said_to_this_machine_goes_through_no_proxy() {
    for test in [
        "chain::tests::what_is_no_answer_is_not_believed",
        "documents::tests::web::documents_of_a_web_server_are_read_once_and_then_asked_after",
    ] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", test]);
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            again.env(name, "http://127.0.0.1:9");
        }
        again.env_remove("NO_PROXY").env_remove("no_proxy");
        let done = again.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
    }
}

/// The compiled contracts have each function and error that is called here, of the same form.
#[test]
fn the_compiled_contracts_are_those_that_are_called() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../contracts/compiled");
    for (name, selectors) in [
        (
            "DeviceRegistry",
            DeviceRegistry::DeviceRegistryCalls::SELECTORS
                .iter()
                .chain(DeviceRegistry::DeviceRegistryErrors::SELECTORS)
                .collect::<Vec<_>>(),
        ),
        (
            "ScopeContract",
            ScopeContract::ScopeContractCalls::SELECTORS
                .iter()
                .chain(ScopeContract::ScopeContractErrors::SELECTORS)
                .collect(),
        ),
        (
            "EpochCounter",
            EpochCounter::EpochCounterCalls::SELECTORS
                .iter()
                .chain(EpochCounter::EpochCounterErrors::SELECTORS)
                .collect(),
        ),
        (
            "CredentialAudit",
            CredentialAudit::CredentialAuditCalls::SELECTORS
                .iter()
                .chain(CredentialAudit::CredentialAuditErrors::SELECTORS)
                .collect(),
        ),
    ] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
        let compiled: Value = serde_json::from_str(&text).unwrap();
        let known: BTreeSet<[u8; 4]> = compiled["abi"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["name"].is_string())
            .map(selector)
            .collect();
        for selector in selectors {
            assert!(
                known.contains(selector),
                "{name}: {}",
                hex::encode(selector)
            );
        }
    }
}

fn selector(item: &Value) -> [u8; 4] {
    let inputs = item["inputs"].as_array().unwrap();
    let types: Vec<&str> = inputs.iter().map(|i| i["type"].as_str().unwrap()).collect();
    let text = format!("{}({})", item["name"].as_str().unwrap(), types.join(","));
    alloy_primitives::keccak256(text)[..4].try_into().unwrap()
}
