//! A machine with a real folder, on a bucket in memory.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bucket::Key;
use bucket::faults::Faulty;
use bucket::memory::MemoryBucket;
use bucket::probe::Capabilities;
use model::Profile;
use parking_lot::Mutex;
use sync::apply::{Applied, Sides};
use sync::folder::disk::DiskFolder;
use sync::keys::Keys;
use sync::plan::Plan;
use sync::settings::Settings;
use sync::state::State;
use sync::steps::{GoOn, Halted, Steps};
use sync::{SyncError, look, pass};
use uuid::Uuid;

pub(crate) const ALL: Capabilities = Capabilities {
    writable: true,
    put_if_absent: true,
    put_if_match: true,
    delete_if_match: true,
    copy: true,
    copy_if_absent: true,
    versions: false,
};

pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) state: Arc<State>,
    pub(crate) bucket: MemoryBucket,
    pub(crate) network: Faulty,
    pub(crate) settings: Settings,
    pub(crate) capabilities: Capabilities,
}

impl Machine {
    pub(crate) fn on(bucket: &MemoryBucket) -> Self {
        let mut settings = Settings::of(Profile::Balanced, "here");
        // The kernel's step; so that no test waits for two seconds.
        settings.time_step = 20_000_000;
        Self {
            folder: tempfile::tempdir().unwrap(),
            state: Arc::new(State::in_memory(Uuid::nil()).unwrap()),
            bucket: bucket.clone(),
            network: Faulty::new(Arc::new(bucket.clone())),
            settings,
            capabilities: ALL,
        }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|e| format!("{path}: {e}"))
    }

    /// All files but ours, with their content.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        gather(self.folder.path(), self.folder.path(), &mut all);
        all
    }

    pub(crate) fn sides(&self, steps: Arc<dyn Steps>) -> Sides {
        Sides {
            bucket: Arc::new(self.network.clone()),
            keys: Keys::new("p/"),
            capabilities: self.capabilities,
            folder: Arc::new(DiskFolder::open(self.folder.path()).unwrap()),
            state: Arc::clone(&self.state),
            steps,
        }
    }

    pub(crate) async fn try_sync(&self) -> Result<Applied, SyncError> {
        // What was written a moment ago is left alone for one step of the clock.
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        let sides = self.sides(Arc::new(GoOn));
        pass(&sides, &self.settings, &mut |_| ()).await
    }

    pub(crate) async fn sync(&self) -> Applied {
        let applied = self.try_sync().await.unwrap();
        assert!(applied.is_whole(), "{applied:?}");
        applied
    }

    pub(crate) async fn plan(&self) -> Plan {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        look(&self.sides(Arc::new(GoOn)), &self.settings)
            .await
            .unwrap()
            .0
    }

    /// The passes until a second one does nothing.
    pub(crate) async fn settle(&self) {
        for _ in 0..5 {
            if self.try_sync().await.unwrap() == Applied::default() {
                return;
            }
        }
        panic!("no quiet: {:?}", self.plan().await);
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, String> {
        let all = self.bucket.contents().into_iter();
        all.filter_map(|(key, body)| {
            let path = key.strip_prefix("p/")?;
            let shown = !path.starts_with(".artifacts/");
            shown.then(|| (path.to_owned(), String::from_utf8_lossy(&body).into_owned()))
        })
        .collect()
    }
}

fn gather(root: &Path, at: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        // A call on the disk may outlast the pass that an error ended.
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue;
        };
        if name == ".artifacts" {
            continue;
        }
        if kind.is_dir() {
            gather(root, &path, all);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            all.insert(name, format!("-> {}", target.display()));
        } else {
            all.insert(
                name,
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            );
        }
    }
}

pub(crate) fn put(bucket: &MemoryBucket, path: &str, content: &str) {
    bucket.insert(&Key::new(format!("p/{path}")).unwrap(), content.to_owned());
}

pub(crate) fn remove(bucket: &MemoryBucket, path: &str) {
    assert!(bucket.remove(&Key::new(format!("p/{path}")).unwrap()));
}

/// Does something once, at a step.
pub(crate) struct At<F>(&'static str, Mutex<Option<F>>);

#[async_trait]
impl<F: FnOnce() + Send + Sync + 'static> Steps for At<F> {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        if step == self.0
            && let Some(work) = self.1.lock().take()
        {
            work();
        }
        Ok(())
    }
}

pub(crate) fn at<F: FnOnce() + Send + Sync + 'static>(
    step: &'static str,
    work: F,
) -> Arc<dyn Steps> {
    Arc::new(At(step, Mutex::new(Some(work))))
}
