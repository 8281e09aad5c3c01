//! What a key costs the signer over a warm connection. `cargo test --release -p artifacts-signer
//! --test cost -- --ignored --nocapture` prints it; the aim is 0.2 ms of CPU for a key.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails; a measurement is printed"
)]

mod common;

use std::sync::mpsc;
use std::time::Instant;

use common::{Lab, person};
use serde_json::json;

const CALLS: u32 = 5_000;

/// Nanoseconds that a thread has run so far.
fn ran(thread: i32) -> u64 {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// The server has a thread of its own, so that the client's work is not counted.
#[test]
#[ignore = "a measurement, for a machine that does nothing else"]
fn a_key_costs_little() {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let rates = artifacts_signer::Rates {
                derive: u32::MAX,
                ..artifacts_signer::Rates::default()
            };
            let lab = std::sync::Arc::new(Lab::with(rates).await);
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            ready.send((lab, thread)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let (lab, server) = started.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let worker = lab.peer("worker");
        let ada = person("ada");
        let body = json!({ "operator": ada, "actor": ada, "epoch": 1 });
        for _ in 0..50 {
            assert_eq!(lab.derive(&worker, body.clone()).await.0, 200);
        }
        let (before, begun) = (ran(server), Instant::now());
        for _ in 0..CALLS {
            assert_eq!(lab.derive(&worker, body.clone()).await.0, 200);
        }
        let micros = (ran(server) - before) / 1_000 / u64::from(CALLS);
        let whole = begun.elapsed().as_micros() / u128::from(CALLS);
        println!("a key: {micros} µs of the signer's CPU, {whole} µs until the answer is there");
        assert!(micros <= 200, "{micros} µs of CPU for a key");
    });
}
