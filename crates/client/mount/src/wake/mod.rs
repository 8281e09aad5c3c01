//! Wakes programs that wait for changes by inotify when another machine made one.
//!
//! The kernel tells watchers only of what programs of this machine do through it. So, when
//! the tree has noticed a change from elsewhere, a [helper process](helper) does through the
//! mount what would have made that change here: it makes a name that is there already,
//! removes one that is gone already, opens a file and reserves bytes that it has already.
//! The kernel sees a program's call and tells the watchers; the mount
//! [recognises](expected) the helper's requests and does nothing for them.
//!
//! What keeps this harmless:
//!
//! - It is another process, because one that is killed while a thread of its own waits for
//!   an answer of its own file system never ends.
//! - A request counts as the helper's only when it comes from exactly that process while
//!   that lives, and is the one step that was just ordered. Everything else of it is refused.
//! - The helper does nothing before the folder has shown it this mount's secret word: the
//!   folder may be unmounted, covered, or another mount by now. It never crosses into another
//!   file system, and no step of it would lose a byte even in a strange one: the worst is a
//!   name that should not be there any more.
//! - The answer to "remove it" is no as soon as the name is there (anew).
//!
//! Only what [somebody watches](watches) is touched. Without a watcher there is no helper,
//! and no listing is made for one.

mod child;
mod expected;
pub(crate) mod helper;
mod orders;
mod queue;
pub(crate) mod watches;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use filesystem::{Change, Filesystem, Gone, Ino, Kind, Place};

use child::Helper;
use expected::Step;
pub(crate) use expected::{Expectations, Sight};
pub(crate) use orders::TOKEN_NAME;
use orders::{Hello, Order};
pub(crate) use queue::Queue;
use queue::Work;

/// A helper that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(30);
/// After a helper could not be started, changes are not told for so long.
const PAUSE: Duration = Duration::from_secs(60);
/// How often a name is made anew when a program was quicker to look it up.
const TRIES: u32 = 3;

/// How the helper is started: a program and arguments with which it calls
/// [`serve_wakes`](crate::serve_wakes).
#[derive(Debug, Clone)]
pub struct WakeProgram {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A change that programs are to hear of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Changed(Ino, Change),
    Appeared(Ino, String),
    Removed(Box<Gone>),
    /// Too much changed in this directory to tell one by one.
    Crowded(Ino),
}

/// Makes the kernel drop what it remembers of a name.
pub(crate) type Forget = Box<dyn Fn(Ino, &str) + Send>;

/// Starts the thread that tells; it ends with the queue.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn start(
    tree: Filesystem,
    program: WakeProgram,
    mountpoint: PathBuf,
    expectations: Arc<Expectations>,
    queue: Arc<Queue>,
    forget: Forget,
) -> io::Result<()> {
    let hello = Hello {
        mountpoint,
        token: expectations.token().to_owned(),
    };
    let teller = Teller {
        tree,
        program,
        hello,
        expectations,
        queue,
        forget,
        helper: None,
    };
    teller.queue.open();
    thread::Builder::new()
        .name("fuse-wake".into())
        .spawn(move || teller.run())
        .map(drop)
}

/// Carries changes to the helper, one at a time.
struct Teller {
    tree: Filesystem,
    program: WakeProgram,
    hello: Hello,
    expectations: Arc<Expectations>,
    queue: Arc<Queue>,
    forget: Forget,
    helper: Option<Helper>,
}

impl Teller {
    fn run(mut self) {
        loop {
            // While there is more to do the helper keeps the folder open.
            let patience = match &self.helper {
                Some(helper) if helper.is_in_folder() => Duration::ZERO,
                Some(_) => IDLE,
                None => Duration::MAX,
            };
            match self.queue.next(patience) {
                Work::Wake(wake) => self.tell(wake),
                Work::Nothing if patience.is_zero() => self.rest(),
                Work::Nothing => self.dismiss(),
                Work::Pause => {
                    self.dismiss();
                    self.queue.at_rest();
                }
                Work::End => return self.dismiss(),
            }
        }
    }

    fn tell(&mut self, wake: Wake) {
        match wake {
            Wake::Removed(gone) => {
                self.vanish(&gone);
                self.expectations.laid_to_rest(gone.parent, &gone.name);
            }
            Wake::Appeared(parent, name) => {
                if let Some(place) = self.tree.place_of(parent, &name) {
                    self.appear(&place);
                }
            }
            Wake::Changed(ino, change) => match (self.tree.place(ino), change) {
                (Some(place), Change::Content) => self.change(&place),
                (Some(place), Change::Attributes) => self.chmod(place.attr.ino, &place),
                (None, _) => {}
            },
            Wake::Crowded(directory) => self.crowded(directory),
        }
    }

    fn vanish(&mut self, gone: &Gone) {
        let order = Order::Vanish {
            directory: gone.directory.clone(),
            name: gone.name.clone(),
            is_directory: gone.attr.kind == Kind::Directory,
        };
        self.carry_out(
            Step::vanishes(gone.parent, &gone.name, gone.attr.ino),
            &order,
        );
    }

    fn appear(&mut self, place: &Place) {
        let order = Order::Appear {
            directory: place.directory.clone(),
            name: place.name.clone(),
            kind: place.attr.kind.into(),
        };
        for _ in 0..TRIES {
            (self.forget)(place.parent, &place.name);
            let step = Step::appears(place.parent, &place.name, place.attr.ino);
            if self.carry_out(step, &order) != Some(libc::EEXIST) {
                return;
            }
        }
    }

    fn change(&mut self, place: &Place) {
        match place.attr.kind {
            Kind::File => {
                let order = Order::Change {
                    directory: place.directory.clone(),
                    name: place.name.clone(),
                };
                self.carry_out(Step::changes(place.attr.ino), &order);
            }
            // Where a link leads is changed by making it anew.
            Kind::Symlink => self.appear(place),
            Kind::Directory => {}
        }
    }

    fn chmod(&mut self, ino: Ino, place: &Place) {
        if place.attr.kind == Kind::Symlink {
            return;
        }
        let order = Order::Chmod {
            directory: place.directory.clone(),
            name: place.name.clone(),
        };
        self.carry_out(Step::changes(ino), &order);
    }

    fn crowded(&mut self, directory: Ino) {
        if let Some(place) = self.tree.place(directory) {
            return self.chmod(directory, &place);
        }
        if directory == filesystem::ROOT {
            let order = Order::Chmod {
                directory: String::new(),
                name: String::new(),
            };
            self.carry_out(Step::changes(directory), &order);
        }
    }

    /// Has one step done; gives its errno. Not being able to tell is no error of the mount.
    fn carry_out(&mut self, step: Step, order: &Order) -> Option<i32> {
        let helper = match self.helper.take() {
            Some(helper) => Ok(helper),
            None => Helper::start(&self.program, &self.hello, &self.expectations),
        };
        let mut helper = match helper {
            Ok(helper) => helper,
            Err(error) => {
                tracing::warn!(%error, "programs that watch the folder are not told of changes");
                self.queue.refuse_for(PAUSE);
                self.expectations.forget_the_gone();
                return None;
            }
        };
        self.expectations.expect(step);
        let answer = helper.ask(order);
        self.expectations.expect_nothing();
        match answer {
            Ok(errno) => {
                tracing::debug!(?order, ?errno, "told those who watch");
                self.helper = Some(helper);
                errno
            }
            Err(error) => {
                tracing::debug!(%error, ?order, "the helper ended");
                helper.end();
                None
            }
        }
    }

    /// Lets go of the folder, so that it can be unmounted.
    fn rest(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            match helper.ask(&Order::Rest) {
                Ok(_) => self.helper = Some(helper),
                Err(_) => helper.end(),
            }
        }
    }

    fn dismiss(&mut self) {
        if let Some(helper) = self.helper.take() {
            helper.end();
        }
    }
}
