//! Lists again, unasked, the directories that programs watch, and those in which somebody
//! says that something changed: a watcher asks for nothing, it waits to be told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::attributes::FOLDER;
use crate::clock::Stamp;
use crate::core::{Core, State};
use crate::listing;
use crate::{Filesystem, Ino, Kind, ROOT};

/// How exactly the time of a listing is kept.
const TICK: Duration = Duration::from_millis(500);
/// Directories listed in one period of the profile's time, so that a watcher of a huge tree
/// costs no more than this. More than these take turns.
const PER_PERIOD: usize = 32;
/// A directory in which nothing happens is skipped for up to two to the power of this many
/// periods, where there are too many to list them all.
const MOST_QUIET: u32 = 5;
/// Keys that are told one after the other are looked after together.
const GATHER: Duration = Duration::from_millis(5);
/// A directory in which changes are told one after the other is listed for them a quarter of
/// the time at the most, so that a large one does not keep the store busy.
const PAUSE_PER_LISTING: u32 = 3;
/// So many directories that somebody spoke of are listed at one time.
const TOLD_AT_ONCE: usize = 16;
/// Anything may have changed: that is seen to once in this time at most.
const RESYNC_PAUSE: Duration = Duration::from_secs(1);
/// After a gap in what is told so many directories are listed without anybody asking.
const LISTED_AFTER_A_GAP: usize = 256;
/// How exactly the end of that pause is kept.
const SHORT_TICK: Duration = Duration::from_millis(20);

/// What is to be listed without anybody asking for names.
#[derive(Default)]
pub(crate) struct Watching {
    /// Directories that programs watch, with the number of listings in a row that showed
    /// nothing new.
    watched: HashMap<Ino, u32>,
    /// Directories in which something changed, as somebody said.
    told: HashSet<Ino>,
    /// When the last listing of a directory that somebody spoke of began, and how long it
    /// took; `None` while it is under way.
    costs: HashMap<Ino, (Stamp, Option<Duration>)>,
    /// When directories were listed for their watchers, within the last period.
    begun: VecDeque<Stamp>,
    /// Anything may have changed, and that was not seen to yet.
    resync: bool,
    /// When that was last seen to.
    resynced: Option<Stamp>,
    /// Wakes the task that lists.
    pub(crate) more: Arc<Notify>,
}

impl Filesystem {
    /// Says which inodes programs watch at present. Their directories (a file's own
    /// directory) are from now on listed often enough that a change from elsewhere is told
    /// to the [`Watcher`](crate::Watcher) within the profile's time, at most 32 of them in
    /// that time. With `lazy` nothing is listed.
    pub fn watch(&self, watched: &HashSet<Ino>) {
        if self.core.settings.lazy {
            return;
        }
        let mut state = self.core.state();
        let directories: HashSet<Ino> = watched
            .iter()
            .filter_map(|ino| state.directory_of(*ino))
            .collect();
        let watching = &mut state.watching;
        watching.watched.retain(|ino, _| directories.contains(ino));
        for directory in directories {
            watching.watched.entry(directory).or_default();
        }
        watching.more.notify_one();
    }

    /// Says that these objects changed in the bucket: the directories that show them are
    /// listed at once, and what differs is told to the [`Watcher`](crate::Watcher). Keys of
    /// directories that nobody has read cost nothing.
    ///
    /// An object of the attribute index stands for the directory whose attributes it holds.
    pub fn refresh(&self, keys: &[String]) {
        let index = format!("{}{FOLDER}", self.core.settings.prefix);
        let now = Stamp::now();
        let mut state = self.core.state();
        for key in keys {
            let directory = match key.strip_prefix(&index) {
                Some(place) => state.told_of_attributes(&self.core.settings.prefix, place),
                None => state.tree.listed_above(key),
            };
            if let Some(directory) = directory {
                // Whoever asks before its turn comes is shown nothing old.
                state.tree.doubt(directory, now);
                state.watching.told.insert(directory);
            }
        }
        state.watching.more.notify_one();
    }

    /// Says that what was not told may have changed too. The directories that were used last
    /// are listed at once, so that a kernel forgets what is no more; any other before its
    /// names are used again.
    pub fn resync(&self) {
        let mut state = self.core.state();
        state.watching.resync = true;
        state.watching.more.notify_one();
    }
}

/// Runs until the workspace is closed; sleeps while nothing is watched.
pub(crate) async fn run(core: Arc<Core>) {
    let more = Arc::clone(&core.state().watching.more);
    loop {
        let tick = core.state().watching.tick();
        let wait = async {
            let news = match tick {
                Some(tick) => tokio::time::timeout(tick, more.notified()).await.is_ok(),
                None => {
                    more.notified().await;
                    true
                }
            };
            if news {
                tokio::time::sleep(GATHER).await;
            }
        };
        tokio::select! {
            () = wait => {}
            () = core.stop.cancelled() => return,
        }
        let due = {
            let mut state = core.state();
            state.resync_if_due();
            state.due(core.settings.attr_ttl)
        };
        for directory in due {
            if listing::again(&core, directory).is_err() {
                // It is gone by now and needs no listing.
                core.state().watching.costs.remove(&directory);
            }
        }
    }
}

impl Watching {
    /// When to look again without being woken; `None` while nothing is to be listed.
    fn tick(&self) -> Option<Duration> {
        if self.resync {
            return Some(SHORT_TICK);
        }
        match (self.told.is_empty(), self.watched.is_empty()) {
            (true, true) => None,
            (true, false) => Some(TICK),
            (false, _) => Some(SHORT_TICK),
        }
    }

    /// Notes that these are listed now because somebody spoke of them.
    fn begin(&mut self, directories: &[Ino]) {
        // What is long over says nothing any more.
        let over = |began: Stamp, took: Duration| began.age() > took * (2 + PAUSE_PER_LISTING);
        self.costs
            .retain(|_, (began, took)| took.is_none_or(|took| !over(*began, took)));
        let now = Stamp::now();
        let begun = directories.iter().map(|ino| (*ino, (now, None)));
        self.costs.extend(begun);
    }

    /// Notes how long a listing took that somebody's word began.
    pub(crate) fn took(&mut self, directory: Ino, began: Stamp) {
        if let Some(cost) = self.costs.get_mut(&directory) {
            *cost = (began, Some(began.age()));
            self.more.notify_one();
        }
    }

    /// How many more may be listed now because somebody spoke of them.
    fn room(&self) -> usize {
        let running = self.costs.values().filter(|(_, took)| took.is_none());
        TOLD_AT_ONCE.saturating_sub(running.count())
    }

    /// Whether a directory that somebody spoke of may be listed again already.
    fn is_rested(&self, directory: Ino) -> bool {
        let Some((began, Some(took))) = self.costs.get(&directory) else {
            return true;
        };
        began.age() >= *took * (1 + PAUSE_PER_LISTING)
    }

    /// Notes what a listing of a directory brought.
    pub(crate) fn listed(&mut self, directory: Ino, news: bool) {
        if let Some(quiet) = self.watched.get_mut(&directory) {
            *quiet = if news { 0 } else { *quiet + 1 };
        }
    }

    /// How old a directory's names may become.
    fn patience(&self, quiet: u32, period: Duration) -> Duration {
        let few = self.watched.len() <= PER_PERIOD;
        let periods = if few { 0 } else { quiet.min(MOST_QUIET) };
        // A tick early, so that it is done within the period.
        (period * (1 << periods)).saturating_sub(TICK.min(period / 4))
    }

    /// How many more may be listed for watchers now.
    fn allowance(&mut self, period: Duration) -> usize {
        // Shorter than the period, or the last of one would be late in the next.
        let window = period * 3 / 4;
        while self.begun.front().is_some_and(|begun| begun.age() > window) {
            self.begun.pop_front();
        }
        PER_PERIOD.saturating_sub(self.begun.len())
    }
}

impl State {
    /// Lets every listing count as old, where that is called for and was not done just now.
    fn resync_if_due(&mut self) {
        let rested = self.watching.resynced;
        if !self.watching.resync || rested.is_some_and(|last| last.age() < RESYNC_PAUSE) {
            return;
        }
        let now = Stamp::now();
        self.watching.resync = false;
        self.watching.resynced = Some(now);
        self.index.catalogue.outdated("");
        let known = self.tree.doubt_listings(now, LISTED_AFTER_A_GAP);
        self.watching.told.extend(known);
    }

    /// The directory whose attributes a document of the index holds, if its names are known;
    /// `place` is the document's key after what all of them begin with.
    fn told_of_attributes(&mut self, prefix: &str, place: &str) -> Option<Ino> {
        let directory = place.rfind('/').map_or("", |slash| &place[..=slash]);
        self.index.catalogue.outdated(directory);
        // Whatever is in the directory itself shows the same.
        self.tree.listed_above(&format!("{prefix}{directory}-"))
    }

    /// The directory whose listing shows what happens to an inode.
    fn directory_of(&self, ino: Ino) -> Option<Ino> {
        let node = self.tree.node(ino).ok().filter(|node| !node.unlinked)?;
        Some(match node.kind() {
            Kind::Directory => ino,
            _ => node.parent,
        })
    }

    /// Directories to list now: all that somebody spoke of, and watched ones whose names are
    /// old enough. Those in which something happened lately go first, then the oldest.
    fn due(&mut self, period: Duration) -> Vec<Ino> {
        // A listing that is under way may have begun before the change: it does not count.
        let told = std::mem::take(&mut self.watching.told);
        let may = |ino: &Ino| !self.listings.is_running(*ino) && self.watching.is_rested(*ino);
        let (now, mut later): (HashSet<Ino>, HashSet<Ino>) = told.into_iter().partition(may);
        let mut due: Vec<Ino> = now.into_iter().collect();
        later.extend(due.drain(self.watching.room().min(due.len())..));
        self.watching.told = later;
        self.watching.begin(&due);
        if self.listings.is_offline() {
            return due;
        }
        let mut old: Vec<(u32, Option<Stamp>, Ino)> = self
            .watching
            .watched
            .iter()
            .filter_map(|(ino, quiet)| {
                let directory = self.tree.directory(*ino).ok()?;
                let patience = self.watching.patience(*quiet, period);
                let late = directory.age().is_none_or(|age| age >= patience);
                let turn = ((*quiet).min(MOST_QUIET), directory.listed, *ino);
                (late && !self.listings.is_running(*ino)).then_some(turn)
            })
            .collect();
        old.sort_unstable();
        old.truncate(self.watching.allowance(period));
        let now = Stamp::now();
        self.watching.begun.extend(old.iter().map(|_| now));
        due.extend(old.into_iter().map(|(_, _, ino)| ino));
        due
    }
}

impl crate::tree::Tree {
    /// The deepest directory on the way to a key whose names are known: what happened to
    /// the key shows there. `None` where the key's own directory was never read.
    fn listed_above(&self, key: &str) -> Option<Ino> {
        let (mut at, mut shown) = (ROOT, None);
        let mut prefix = self.prefix_of(ROOT).ok()?;
        loop {
            if self.directory(at).ok()?.listed.is_some() {
                shown = Some(at);
            }
            let rest = key.strip_prefix(prefix.as_str())?;
            let Some((segment, _)) = rest.split_once('/') else {
                return shown;
            };
            let Some(next) = self.child_directory(at, segment) else {
                return shown;
            };
            prefix = format!("{prefix}{segment}/");
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(count: u64) -> Watching {
        Watching {
            watched: (0..count).map(|ino| (ino, 9)).collect(),
            ..Watching::default()
        }
    }

    #[test]
    fn few_directories_are_listed_each_period_however_quiet_they_are() {
        let period = Duration::from_secs(10);
        let few = watching(PER_PERIOD as u64);
        assert_eq!(few.patience(9, period), period - TICK);
        let many = watching(PER_PERIOD as u64 + 1);
        assert_eq!(many.patience(0, period), period - TICK);
        assert_eq!(many.patience(2, period), period * 4 - TICK);
        assert_eq!(many.patience(99, period), period * 32 - TICK);
    }

    #[test]
    fn no_more_than_the_bound_is_listed_in_a_period() {
        let mut many = watching(1000);
        let period = Duration::from_secs(10);
        assert_eq!(many.allowance(period), PER_PERIOD);
        many.begun.extend([Stamp::now(); 30]);
        assert_eq!(many.allowance(period), 2);
        let long_ago = Stamp::now().before(period);
        many.begun = VecDeque::from([long_ago; 30]);
        assert_eq!(many.allowance(period), PER_PERIOD);
    }

    #[test]
    fn news_end_the_quiet() {
        let mut few = watching(1);
        few.listed(0, false);
        assert_eq!(few.watched[&0], 10);
        few.listed(0, true);
        assert_eq!(few.watched[&0], 0);
        few.listed(7, true);
        assert_eq!(few.watched.len(), 1, "nobody watches that");
    }
}
