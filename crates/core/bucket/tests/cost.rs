//! What a call costs this machine's processor; run by hand:
//! `cargo nextest run --release -p artifacts-bucket --run-ignored only cost --no-capture`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a measurement by hand"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use artifacts_bucket::{Body, Bucket, GetOptions, Key, PutOptions};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use testkit::seaweedfs::SeaweedFs;
use testkit::tools::Tool;

/// Processor seconds of this process so far: user and system, from ticks of 10 ms
/// (proc(5), fields 14 and 15 of `stat`).
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |i: usize| fields[i].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

async fn measure<F: Future<Output = ()>>(what: &str, calls: usize, call: impl Fn(usize) -> F) {
    let (wall, cpu) = (Instant::now(), processor());
    stream::iter(0..calls)
        .map(call)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
    let each = |seconds: f64| seconds * 1e6 / calls as f64;
    let (wall, cpu) = (each(wall.elapsed().as_secs_f64()), each(processor() - cpu));
    eprintln!("{what}: {cpu:.0} µs of processor, {wall:.0} µs of time (8 at once)");
}

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn cost_of_calls() {
    testkit::require!(Tool::Weed);
    let server = SeaweedFs::start().unwrap();
    server.create_bucket("cost").unwrap();
    let keys = Keys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.into(),
        session_token: None,
        expires: None,
    };
    let mut config = Config::new("cost", testkit::REGION, Arc::new(StaticKeys::new(keys)));
    config.endpoint = Some(server.endpoint());
    let bucket = S3Bucket::new(config).unwrap();
    let put = async |name: String, len: usize| {
        let body = Body::Bytes(Bytes::from(vec![7; len]));
        bucket
            .put(&Key::new(name).unwrap(), body, PutOptions::default())
            .await
            .unwrap();
    };
    let get = async |name: String| {
        let object = bucket
            .get(&Key::new(name).unwrap(), GetOptions::default())
            .await
            .unwrap();
        let body = object.body.map_ok(drop);
        body.try_collect::<()>().await.unwrap();
    };
    let head = async |name: String| {
        bucket.head(&Key::new(name).unwrap()).await.unwrap();
    };
    measure("PUT 4 KiB", 2000, |i| put(format!("s{i}"), 4096)).await;
    measure("GET 4 KiB", 2000, |i| get(format!("s{i}"))).await;
    measure("HEAD", 2000, |i| head(format!("s{i}"))).await;
    measure("PUT 8 MiB", 20, |i| put(format!("l{i}"), 8 << 20)).await;
    measure("GET 8 MiB", 20, |i| get(format!("l{i}"))).await;
    measure("PUT 64 MiB in parts", 3, |i| put(format!("x{i}"), 64 << 20)).await;
}
