//! Random histories of three machines on one bucket. At quiet all are alike, and every byte
//! string that a user wrote, and that nobody overwrote or deleted while seeing it, is there.
//!
//! `ARTIFACTS_SYNC_SEED=N` replays one history; one that fails shows its trace.

#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bucket::faults::{Fault, Rule, Verb};
use bucket::{Bucket, Error, ListRequest, ObjectMeta};
use sync::run;
use world::World;
use world::bucket::Stale;
use world::chaos::Chaos;

/// Histories that once went wrong; a seed counts for the history that this code makes of it.
/// What earlier code made of others is in `sync_plan.rs`.
const REGRESSIONS: &[u64] = &[83, 121, 1272, 2355, 7389, 7603, 13034];

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
        let trace = world.inner.lock().trace.join("\n");
        panic!("seed {seed}: {error}\n{trace}");
    }
}

/// > No byte that a user wrote is lost by a sync: it is live, in a conflict copy or in a trash, whatever happens at one time and wherever a pass is cut off.
/// > Once nobody changes anything, all folders and the bucket become alike, and a further run does nothing.
#[test]
fn histories_end_alike_and_lose_nothing() {
    if let Ok(seed) = std::env::var("ARTIFACTS_SYNC_SEED") {
        return check(seed.parse().unwrap());
    }
    let count = match std::env::var("ARTIFACTS_LONG") {
        Ok(_) => 20_000,
        Err(_) => 500,
    };
    for seed in 0..count {
        check(seed);
    }
}

#[test]
fn histories_that_once_went_wrong_stay_right() {
    for seed in REGRESSIONS {
        check(*seed);
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
