//! Random histories of three machines on one bucket. At quiet all are alike, and every byte
//! string that a user wrote, and that nobody overwrote or deleted while seeing it, is there.
//!
//! `ARTIFACTS_SYNC_SEED=N` replays one history; one that fails shows its trace, and its seed is
//! written into `sync_model.seeds`, to be played in every run from then on.

#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bucket::faults::{Fault, Rule, Verb};
use bucket::{Bucket, Error, ListRequest, ObjectMeta};
use sync::run;
use world::World;
use world::bucket::Stale;
use world::chaos::Chaos;

/// Histories of each run, and of one by night.
const EVERY_RUN: u64 = 500;
const BY_NIGHT: u64 = 20_000;

/// Histories that once went wrong; a seed counts for the history that this code makes of it.
/// What earlier code made of others is in `sync_plan.rs`.
fn kept() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/sync_model.seeds"
    ))
}

fn kept_seeds() -> Vec<u64> {
    let text = fs::read_to_string(kept()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.parse().unwrap()).collect()
}

/// Keeps a seed, where the sources can be written.
fn keep(seed: u64) {
    if kept_seeds().contains(&seed) {
        return;
    }
    if let Ok(mut file) = fs::File::options().append(true).open(kept()) {
        writeln!(file, "{seed}").unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

async fn history(seed: u64) -> (Arc<World>, Result<(), String>) {
    let world = Arc::new(World::new(seed));
    let rounds = 3 + world.inner.lock().dice.below(8);
    let mut then = Vec::new();
    for _ in 0..rounds {
        then = round(&world, then).await;
    }
    let mut answer = world.settle().await;
    if answer.is_ok() {
        answer = world.check().await;
    }
    (world, answer)
}

/// Users work, then some machines sync at one time, under what chance brings.
/// Listings may be as the bucket was a round ago; says how it is now.
async fn round(world: &Arc<World>, then: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
    let work = world.inner.lock().dice.below(10);
    for _ in 0..work {
        let client = world.inner.lock().dice.below(world.clients.len());
        world.user(client);
    }
    let mut passes = Vec::new();
    for client in 0..world.clients.len() {
        if world.inner.lock().dice.chance(60) {
            let stale = world.inner.lock().dice.chance(8).then(|| then.clone());
            passes.push(troubled(Arc::clone(world), client, stale));
        }
    }
    let request = ListRequest {
        prefix: "p/".to_owned(),
        ..ListRequest::default()
    };
    let now = world.bucket.list(&request).await.unwrap().objects;
    futures::future::join_all(passes).await;
    now
}

async fn troubled(world: Arc<World>, client: usize, stale: Option<Vec<ObjectMeta>>) {
    let (crash_at, busy, down, lossy) = {
        let mut inner = world.inner.lock();
        let dice = &mut inner.dice;
        let crash_at = dice.chance(30).then(|| dice.below(30) as u64);
        let busy = *dice.pick(&[0, 0, 10, 30]);
        let lossy = dice.chance(25).then(|| dice.next());
        (crash_at, busy, dice.chance(10), lossy)
    };
    let network = &world.clients[client].network;
    network.set_down(down);
    let lost = lossy.map(|seed| {
        let error = Error::Unreachable {
            endpoint: "test".into(),
            reason: "lost answer".into(),
        };
        let rule = |fault| Rule::new(fault).chance(0.15, seed);
        let verbs = [Verb::Put, Verb::Copy, Verb::Delete];
        let rule = verbs
            .into_iter()
            .fold(rule(Fault::FailAfter(error)), Rule::on);
        network.add(rule)
    });
    let steps = Chaos {
        world: Arc::clone(&world),
        client,
        crash_at,
        count: AtomicU64::new(0),
        busy,
    };
    let mut sides = world.sides(client, Arc::new(steps));
    if let Some(then) = stale {
        world.note(format!("client {client} gets an old list"));
        let now = Arc::clone(&sides.bucket);
        sides.bucket = Arc::new(Stale { now, then });
    }
    let settings = world.clients[client].settings.clone();
    let mut show = |plan: &sync::plan::Plan| {
        let actions = plan.actions.iter();
        let actions: Vec<String> = actions
            .map(|a| format!("{} {} ({})", a.act.name(), a.path, a.reason))
            .collect();
        world.note(format!("client {client} plans {actions:?}"));
    };
    let answer = run(&sides, &settings, &mut show).await;
    world.note(format!("client {client} ends with {answer:?}"));
    if let Some(rule) = lost {
        rule.remove();
    }
}

fn check(seed: u64) {
    let (world, answer) = runtime().block_on(history(seed));
    if let Err(error) = &answer {
        keep(seed);
        let trace = world.inner.lock().trace.join("\n");
        panic!("seed {seed}: {error}\n{trace}");
    }
}

/// Checks many histories, on as many threads as there are processors; all of them, even after
/// one went wrong.
fn check_all(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut wrong = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return wrong;
            }
            if std::panic::catch_unwind(|| check(seed)).is_err() {
                wrong.push(seed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let found = workers.into_iter().map(|worker| worker.join().unwrap());
        found.flatten().collect()
    });
    assert!(wrong.is_empty(), "seeds that went wrong: {wrong:?}");
}

/// Other histories every night: those of this day.
fn seeds_of_tonight() -> std::ops::Range<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = since.as_secs() / 86_400 * BY_NIGHT;
    first..first + BY_NIGHT
}

/// > No byte that a user wrote is lost by a sync: it is live, in a conflict copy or in a trash, whatever happens at one time and wherever a pass is cut off.
/// > Once nobody changes anything, all folders and the bucket become alike, and a further run does nothing.
#[test]
fn histories_end_alike_and_lose_nothing() {
    if let Ok(seed) = std::env::var("ARTIFACTS_SYNC_SEED") {
        return check(seed.parse().unwrap());
    }
    check_all(0..EVERY_RUN);
    if std::env::var_os("ARTIFACTS_LONG").is_some() {
        check_all(seeds_of_tonight());
    }
}

#[test]
fn histories_that_once_went_wrong_stay_right() {
    for seed in kept_seeds() {
        check(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let trace = || {
            let (world, _) = runtime().block_on(history(seed));
            world.inner.lock().trace.join("\n")
        };
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}
