//! Several simulated machines, each with a folder, on one bucket: what their users do, what
//! goes wrong, and what must hold in the end. Everything follows from one seed.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod bucket;
pub(crate) mod chaos;
pub(crate) mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::bucket::faults::Faulty;
use ::bucket::probe::Capabilities;
use bytes::Bytes;
use model::Profile;
use parking_lot::Mutex;
use sync::apply::Sides;
use sync::entry::Kind;
use sync::folder::memory::MemoryFolder;
use sync::keys::{Keys, Meaning};
use sync::settings::{DeleteLimit, Deletes, Loser, Resolve, Settings};
use sync::state::State;
use sync::steps::{GoOn, Steps};
use sync::{TreePath, look, run};
use uuid::Uuid;

use self::bucket::Timed;

/// Where the simulated clocks begin.
pub(crate) const START: i64 = 1_700_000_000_000_000_000;

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// One machine.
pub(crate) struct Client {
    pub(crate) folder: MemoryFolder,
    pub(crate) network: Faulty,
    pub(crate) state: Arc<State>,
    pub(crate) settings: Settings,
}

/// All machines and the bucket.
pub(crate) struct World {
    pub(crate) bucket: Timed,
    pub(crate) clients: Vec<Client>,
    pub(crate) inner: Mutex<Inner>,
}

/// What changes while passes run.
pub(crate) struct Inner {
    pub(crate) dice: Dice,
    /// Contents that some user wrote, and that no user overwrote or deleted while seeing them.
    pub(crate) alive: BTreeMap<Bytes, String>,
    written: u64,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let bucket = Timed::new(START);
        bucket.inner.set_part_size(4);
        let workspace = Uuid::from_u128(7);
        let profile = *dice.pick(&Profile::ALL);
        let clients = (0..3)
            .map(|n| {
                let skew = [0, 3_600_000_000_000, -3_600_000_000_000, 86_400_000_000_000];
                let mut settings = Settings::of(profile, format!("host{n}"));
                settings.limit = DeleteLimit::NONE;
                settings.deletes = Deletes::Approve;
                settings.transfers = *dice.pick(&[1, 4]);
                // Most files are small, those with something added go in parts.
                (settings.large, settings.block) = (6, 4);
                if dice.chance(40) {
                    settings.resolve = *dice.pick(&Resolve::ALL);
                }
                Client {
                    folder: MemoryFolder::new(START + dice.pick(&skew)),
                    network: Faulty::new(Arc::new(bucket.clone())),
                    state: Arc::new(State::in_memory(workspace).unwrap()),
                    settings,
                }
            })
            .collect();
        Self {
            bucket,
            clients,
            inner: Mutex::new(Inner {
                dice,
                alive: BTreeMap::new(),
                written: 0,
                trace: Vec::new(),
            }),
        }
    }

    pub(crate) fn note(&self, text: String) {
        self.inner.lock().trace.push(text);
    }

    pub(crate) fn sides(&self, client: usize, steps: Arc<dyn Steps>) -> Sides {
        let client = &self.clients[client];
        Sides {
            bucket: Arc::new(client.network.clone()),
            keys: Keys::new("p/"),
            capabilities: Capabilities {
                writable: true,
                put_if_absent: true,
                put_if_match: true,
                delete_if_match: true,
                copy: true,
                copy_if_absent: true,
                versions: false,
            },
            folder: Arc::new(client.folder.clone()),
            state: Arc::clone(&client.state),
            steps,
        }
    }

    /// Lets every client sync, without trouble, until nothing happens any more.
    pub(crate) async fn settle(&self) -> Result<(), String> {
        for client in &self.clients {
            client.network.set_down(false);
        }
        for round in 0..24 {
            let mut quiet = true;
            for n in 0..self.clients.len() {
                self.clients[n].folder.wait(5_000_000_000);
                let sides = self.sides(n, Arc::new(GoOn));
                let mut plans = Vec::new();
                let mut show = |plan: &sync::plan::Plan| {
                    plans.extend(
                        plan.actions
                            .iter()
                            .map(|a| format!("{} {} ({})", a.act.name(), a.path, a.reason)),
                    );
                };
                let applied = run(&sides, &self.clients[n].settings, &mut show).await;
                let applied = applied.map_err(|e| format!("client {n}: {e}"))?;
                quiet &= plans.is_empty() && applied.again.is_empty();
                self.note(format!("settle {round} client {n}: {plans:?} {applied:?}"));
                if !applied.failed.is_empty() {
                    return Err(format!("client {n} failed: {:?}", applied.failed));
                }
            }
            if quiet {
                return Ok(());
            }
        }
        Err("no quiet after 24 rounds".to_owned())
    }

    /// What must hold once all is quiet.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let (files, directories) = self.in_bucket();
        for (n, client) in self.clients.iter().enumerate() {
            let here = client.folder.files();
            if here != files {
                return Err(format!("client {n} has {here:?}, the bucket {files:?}"));
            }
            let here = client.folder.directories();
            if here != directories {
                return Err(format!(
                    "client {n} has directories {here:?}, the bucket {directories:?}"
                ));
            }
            let (plan, _) = look(&self.sides(n, Arc::new(GoOn)), &client.settings)
                .await
                .map_err(|e| e.to_string())?;
            if !plan.is_done() {
                return Err(format!("client {n} still plans {:?}", plan.actions));
            }
            if !plan.refused.is_empty() {
                return Err(format!("client {n} refuses {:?}", plan.refused));
            }
        }
        self.check_contents(&files)
    }

    fn check_contents(&self, files: &BTreeMap<TreePath, (Kind, Bytes)>) -> Result<(), String> {
        let mut kept: BTreeSet<Bytes> = files.values().map(|(_, c)| c.clone()).collect();
        if self
            .clients
            .iter()
            .any(|c| c.settings.loser == Loser::Trash)
        {
            kept.extend(self.clients.iter().flat_map(|c| c.folder.trash()));
            kept.extend(self.bucket.inner.contents().into_values());
        }
        let inner = self.inner.lock();
        for (content, origin) in &inner.alive {
            if !kept.contains(content) {
                return Err(format!("{content:?}, written as {origin}, is lost"));
            }
        }
        Ok(())
    }

    fn in_bucket(&self) -> (BTreeMap<TreePath, (Kind, Bytes)>, BTreeSet<TreePath>) {
        let keys = Keys::new("p/");
        let (mut files, mut directories) = (BTreeMap::new(), BTreeSet::new());
        for (key, content) in self.bucket.inner.contents() {
            let key = ::bucket::Key::new(key).unwrap();
            match keys.meaning(&key) {
                Some(Meaning::Entry(kind, path)) => {
                    directories.extend(path.ancestors());
                    files.insert(path, (kind, content));
                }
                Some(Meaning::Directory(path)) => {
                    directories.extend(path.ancestors());
                    directories.insert(path);
                }
                _ => {}
            }
        }
        (files, directories)
    }
}
