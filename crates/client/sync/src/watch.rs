//! Wakes whoever waits when something in the folder changes (inotify).
//!
//! It is a hint and never the truth: a pass looks at everything by itself. Where not every
//! directory can be watched, the caller's periodic look is what is left.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ignored::{self, Chain, Rules};
use crate::path::TreePath;

/// Programs save in several steps: so long has to be quiet before a pass begins …
const QUIET: Duration = Duration::from_millis(150);
/// … unless it never is.
const AT_MOST: Duration = Duration::from_secs(2);

/// What tells of a change of content or names.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::ONLYDIR);

/// A folder that is watched.
pub struct Watch {
    queue: AsyncFd<OwnedFd>,
    root: PathBuf,
}

impl Watch {
    /// Begins to watch a folder; directories count once they are [covered](Watch::cover).
    ///
    /// # Errors
    /// The system's.
    #[allow(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd is the descriptor that it asks for"
    )]
    pub fn new(root: &Path) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            queue: AsyncFd::new(queue)?,
            root: root.to_owned(),
        })
    }

    /// Watches every directory that is there now and that no rule leaves out: neither these nor
    /// those of the files in the folder. Says whether that was possible.
    pub fn cover(&self, given: &Rules) -> bool {
        let mut all = true;
        let mut open = vec![(None, Chain::of(given))];
        while let Some((directory, chain)) = open.pop() {
            let at = self.at(directory.as_ref());
            match inotify::add_watch(self.queue.get_ref(), &at, CHANGES) {
                // Gone since its parent was read, or replaced by a link.
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(_) => all = false,
            }
            let chain = self.enter(directory.as_ref(), chain);
            let below = self.directories(directory.as_ref());
            let below = below.filter(|path| !chain.leaves_out(path.as_str(), true));
            open.extend(below.map(|path| (Some(path), chain.clone())));
        }
        all
    }

    fn at(&self, directory: Option<&TreePath>) -> PathBuf {
        let below = directory.map(|path| self.root.join(path.as_str()));
        below.unwrap_or_else(|| self.root.clone())
    }

    /// The rules that count in a directory. The next pass tells of a file of rules that cannot be
    /// read; to watch too much is no harm.
    fn enter(&self, directory: Option<&TreePath>, chain: Chain) -> Chain {
        let file = match directory {
            Some(directory) => directory.child(ignored::NAME),
            None => TreePath::parse(ignored::NAME),
        };
        let at = self.at(directory).join(ignored::NAME);
        let is_file = at.symlink_metadata().is_ok_and(|there| there.is_file());
        let text = is_file.then(|| std::fs::read_to_string(&at));
        match (file, text) {
            (Ok(file), Some(Ok(text))) => {
                let own = chain.enter(&file, &text, &mut Rules::default());
                own.map_or(chain, |(own, _)| own)
            }
            _ => chain,
        }
    }

    fn directories(&self, directory: Option<&TreePath>) -> impl Iterator<Item = TreePath> {
        let entries = std::fs::read_dir(self.at(directory));
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(move |entry| {
            let name = entry.file_name();
            let path = match directory {
                Some(directory) => directory.child(name.to_str()?),
                None => TreePath::parse(name.to_str()?),
            };
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            path.ok().filter(|_| is_directory)
        })
    }

    /// Returns when something has changed, and then nothing for a moment.
    ///
    /// # Errors
    /// The system's.
    pub async fn changed(&self) -> io::Result<()> {
        self.next().await?;
        let end = Instant::now() + AT_MOST;
        loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(quiet.min(end), self.next()).await {
                Ok(more) => more?,
                Err(_) => return Ok(()),
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Forgets what has happened so far.
    ///
    /// # Errors
    /// The system's.
    pub fn forget(&self) -> io::Result<()> {
        self.drain().map(drop)
    }

    /// Returns when something has happened.
    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.queue.readable().await?;
            if self.drain()? {
                return Ok(());
            }
            ready.clear_ready();
            // Never to spin, whatever the kernel says.
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes all events that wait. Which they are does not matter.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let mut any = false;
        loop {
            match rustix::io::read(self.queue.get_ref(), &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;
    use crate::ignored::Filter;

    async fn woken(watch: &Watch) -> bool {
        let patience = Duration::from_secs(5);
        timeout(patience, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_change_wakes_and_our_own_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::create_dir_all(root.join(".artifacts/tmp")).unwrap();
        let watch = Watch::new(root).unwrap();
        assert!(watch.cover(&Rules::default()));
        fs::write(root.join(".artifacts/tmp/x"), "ours").unwrap();
        let short = Duration::from_millis(400);
        assert!(timeout(short, watch.changed()).await.is_err());
        fs::write(root.join("d/e/f"), "1").unwrap();
        assert!(woken(&watch).await);
        fs::rename(root.join("d/e/f"), root.join("g")).unwrap();
        assert!(woken(&watch).await);
        fs::create_dir(root.join("new")).unwrap();
        assert!(woken(&watch).await);
        assert!(watch.cover(&Rules::default()));
        fs::write(root.join("new/f"), "1").unwrap();
        assert!(woken(&watch).await);
        fs::write(root.join("new/f"), "2").unwrap();
        sleep(Duration::from_millis(50)).await;
        watch.forget().unwrap();
        assert!(timeout(short, watch.changed()).await.is_err());
    }

    #[tokio::test]
    async fn what_rules_leave_out_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/node_modules/x")).unwrap();
        fs::create_dir_all(root.join("out/d")).unwrap();
        fs::write(root.join("a/.artifactsignore"), "node_modules/\n").unwrap();
        let watch = Watch::new(root).unwrap();
        let given = Rules::given(&[Filter::exclude("/out").unwrap()]).unwrap();
        assert!(watch.cover(&given));
        fs::write(root.join("a/node_modules/x/y"), "1").unwrap();
        fs::write(root.join("out/d/y"), "1").unwrap();
        let short = Duration::from_millis(400);
        assert!(timeout(short, watch.changed()).await.is_err());
        fs::write(root.join("a/y"), "1").unwrap();
        assert!(woken(&watch).await);
    }
}
