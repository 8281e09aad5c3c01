//! Which requests are the helper's, and what it was told to do: the only thing for which
//! the mount says "done" without doing it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use filesystem::{Attr, Gone, Ino};
use parking_lot::Mutex;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// What the helper is doing, for those who answer its requests.
pub(crate) struct Expectations {
    /// The helper's process number; 0 while there is none.
    pid: AtomicU32,
    token: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    process: Option<Arc<OwnedFd>>,
    step: Option<Step>,
    /// Names that are gone and still to be removed by the helper.
    gone: HashMap<(Ino, String), Attr>,
}

/// One step of the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    what: What,
    /// The inode that it is about.
    ino: Ino,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A name is to be made that is there; `made` when it has been.
    Appears {
        parent: Ino,
        name: String,
        made: bool,
    },
    /// A name is to be removed that is gone.
    Vanishes { parent: Ino, name: String },
    /// Content or mode is to be set to what it is.
    Changes,
}

/// What the helper sees at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// What is there.
    AsIs,
    /// Nothing yet.
    Nothing,
    /// What was there.
    Gone(Box<Attr>),
}

impl Step {
    pub(super) fn appears(parent: Ino, name: &str, ino: Ino) -> Self {
        let what = What::Appears {
            parent,
            name: name.to_owned(),
            made: false,
        };
        Self { what, ino }
    }

    pub(super) fn vanishes(parent: Ino, name: &str, ino: Ino) -> Self {
        let what = What::Vanishes {
            parent,
            name: name.to_owned(),
        };
        Self { what, ino }
    }

    pub(super) fn changes(ino: Ino) -> Self {
        Self {
            what: What::Changes,
            ino,
        }
    }
}

impl Expectations {
    /// Of a helper that will know the mount by `token`.
    pub(crate) fn new(token: String) -> Self {
        Self {
            pid: AtomicU32::new(0),
            token,
            inner: Mutex::default(),
        }
    }

    /// What the mount's root says to its helper.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a request comes from the helper. One look at a number for everybody else's.
    pub(crate) fn is_helper(&self, pid: u32) -> bool {
        if pid == 0 || pid != self.pid.load(Ordering::Acquire) {
            return false;
        }
        // The number may be somebody else's since the helper died and was reaped.
        let process = self.inner.lock().process.clone();
        process.is_some_and(|process| runs(&process))
    }

    pub(super) fn recognise(&self, pid: u32, process: Arc<OwnedFd>) {
        self.inner.lock().process = Some(process);
        self.pid.store(pid, Ordering::Release);
    }

    pub(super) fn recognise_nobody(&self) {
        self.pid.store(0, Ordering::Release);
        self.inner.lock().process = None;
    }

    /// Kills the helper; whoever waits for its answer then knows.
    pub(crate) fn kill_helper(&self) {
        let process = self.inner.lock().process.clone();
        if let Some(process) = process {
            kill(&process);
        }
    }

    pub(super) fn expect(&self, step: Step) {
        self.inner.lock().step = Some(step);
    }

    pub(super) fn expect_nothing(&self) {
        self.inner.lock().step = None;
    }

    /// From now on the helper, and only it, sees a name that is gone.
    pub(crate) fn lament(&self, gone: &Gone) {
        let key = (gone.parent, gone.name.clone());
        self.inner.lock().gone.insert(key, gone.attr.clone());
    }

    /// Nobody sees a name any more that is gone.
    pub(crate) fn laid_to_rest(&self, parent: Ino, name: &str) {
        self.inner.lock().gone.remove(&(parent, name.to_owned()));
    }

    /// Nobody will remove what is gone.
    pub(super) fn forget_the_gone(&self) {
        self.inner.lock().gone.clear();
    }

    /// What the helper sees at a name; `is_there` whether there is anything now.
    pub(crate) fn sight(&self, parent: Ino, name: &str, is_there: bool) -> Sight {
        let inner = self.inner.lock();
        let hidden = inner.step.as_ref().is_some_and(|step| {
            matches!(&step.what, What::Appears { parent: p, name: n, made: false }
                if *p == parent && n == name)
        });
        if hidden {
            return Sight::Nothing;
        }
        if is_there {
            return Sight::AsIs;
        }
        let gone = inner.gone.get(&(parent, name.to_owned()));
        gone.map_or(Sight::AsIs, |attr| Sight::Gone(Box::new(attr.clone())))
    }

    /// The attributes of an inode that is gone and that the helper sees.
    pub(crate) fn gone(&self, ino: Ino) -> Option<Attr> {
        let inner = self.inner.lock();
        inner.gone.values().find(|attr| attr.ino == ino).cloned()
    }

    /// Whether the helper was told to make this name, and has not yet; from now on it has.
    pub(crate) fn makes(&self, parent: Ino, name: &str) -> bool {
        let mut inner = self.inner.lock();
        match inner.step.as_mut().map(|step| &mut step.what) {
            Some(What::Appears {
                parent: p,
                name: n,
                made,
            }) if *p == parent && n == name => !std::mem::replace(made, true),
            _ => false,
        }
    }

    /// Whether the helper was told to remove this name.
    pub(crate) fn removes(&self, parent: Ino, name: &str) -> bool {
        let inner = self.inner.lock();
        inner.step.as_ref().is_some_and(|step| {
            matches!(&step.what, What::Vanishes { parent: p, name: n }
                if *p == parent && n == name)
        })
    }

    /// Whether the helper was told to act as if this inode changed.
    pub(crate) fn changes(&self, ino: Ino) -> bool {
        let inner = self.inner.lock();
        inner
            .step
            .as_ref()
            .is_some_and(|step| step.ino == ino && !matches!(step.what, What::Vanishes { .. }))
    }
}

/// Ends a process for certain.
pub(super) fn kill(process: &OwnedFd) {
    // It may have ended by itself.
    let _ = pidfd_send_signal(process, Signal::KILL);
}

/// Whether a child of ours runs, whatever its number means by now.
fn runs(process: &OwnedFd) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(process.as_fd()), look), Ok(None))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn only_the_very_process_is_recognised_and_only_while_it_lives() {
        let expectations = Expectations::new("word".into());
        assert!(!expectations.is_helper(0));
        let mut child = Command::new("sleep").arg("30").spawn().expect("started");
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a pidfd");
        expectations.recognise(child.id(), Arc::new(process));
        assert!(expectations.is_helper(child.id()));
        assert!(!expectations.is_helper(child.id() + 1));
        expectations.kill_helper();
        child.wait().expect("reaped, as somebody else may do it");
        assert!(!expectations.is_helper(child.id()));
        expectations.recognise_nobody();
        assert!(!expectations.is_helper(0));
    }

    #[test]
    fn each_step_is_good_for_itself_alone() {
        let expectations = Expectations::new("word".into());
        assert!(!expectations.makes(1, "a") && !expectations.removes(1, "a"));
        expectations.expect(Step::appears(1, "a", 7));
        assert_eq!(expectations.sight(1, "a", true), Sight::Nothing);
        assert_eq!(expectations.sight(1, "b", true), Sight::AsIs);
        assert!(!expectations.removes(1, "a"));
        assert!(expectations.changes(7) && !expectations.changes(8));
        assert!(!expectations.makes(1, "b") && !expectations.makes(2, "a"));
        assert!(expectations.makes(1, "a"));
        assert!(!expectations.makes(1, "a"), "once");
        assert_eq!(expectations.sight(1, "a", true), Sight::AsIs);
        expectations.expect(Step::vanishes(1, "a", 7));
        assert!(expectations.removes(1, "a") && !expectations.changes(7));
        expectations.expect_nothing();
        assert!(!expectations.removes(1, "a"));
    }
}
