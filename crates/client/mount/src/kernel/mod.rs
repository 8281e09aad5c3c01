//! The tree shown to the Linux kernel: the only module that names fuser's types.
//!
//! Each request is turned into a future of the tree and polled once, right in the FUSE
//! thread: what needs no network is answered there, without a task or a wake-up. What has
//! to wait goes to the runtime and is answered from there, so that a bucket that hangs
//! blocks neither metadata nor reads of what is cached.

mod convert;
mod directory;
mod files;
mod handlers;
mod notify;
mod options;
mod privileges;
mod replies;
mod touches;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use filesystem::{Filesystem, Ino};
use fuser::{Notifier, Request};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use files::OpenFiles;
pub use files::Passthrough;
use notify::Watchers;
pub use notify::{Changes, watcher};
use touches::Touches;

use crate::wake::watches::{self, Watched};
use crate::wake::{self, Expectations, Queue, WakeProgram};

/// A session with the kernel, served by its own threads until the folder is unmounted.
pub(crate) struct KernelSession {
    /// Resolves when the kernel has ended the session.
    pub(crate) ended: oneshot::Receiver<io::Result<()>>,
    /// Whether files are handed to the kernel.
    pub(crate) passthrough: PassthroughState,
    /// How programs that watch are told.
    pub(crate) wakes: Wakes,
}

/// A view of whether files are handed to the kernel, as it changes.
#[derive(Clone)]
pub(crate) struct PassthroughState(Arc<OpenFiles>);

impl PassthroughState {
    pub(crate) fn now(&self) -> Passthrough {
        self.0.passthrough()
    }

    /// Releases what the kernel holds open, where the session is given up.
    pub(crate) async fn release_all(&self, tree: &Filesystem) {
        self.0.release_all(tree).await;
    }
}

/// How the kernel is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct KernelOptions {
    /// Why the kernel is not asked for passthrough; `None` to ask.
    pub(crate) no_passthrough: Option<&'static str>,
    /// Answer users other than the one who mounted.
    pub(crate) allow_other: bool,
    /// How programs that watch are told of changes; `None` where they cannot be.
    pub(crate) wake: Option<WakeOptions>,
}

/// What it takes to tell programs that watch.
#[derive(Debug, Clone)]
pub(crate) struct WakeOptions {
    pub(crate) program: WakeProgram,
    /// The folder on which the device is attached.
    pub(crate) mountpoint: PathBuf,
}

/// Answers the kernel on `device` until the folder is unmounted.
///
/// Blocks for the handshake with the kernel. `changes` are told to it from a thread of
/// their own: a FUSE thread that did so could wait for a lock that its own request holds.
///
/// # Errors
/// When the handshake fails or no thread can be started.
pub(crate) fn serve(
    tree: Filesystem,
    device: OwnedFd,
    changes: Changes,
    options: &KernelOptions,
    runtime: Handle,
) -> io::Result<KernelSession> {
    let files = Arc::new(OpenFiles::new());
    let wakes = Wakes::new();
    let kernel = Kernel {
        tree: tree.clone(),
        runtime: runtime.clone(),
        files: files.clone(),
        options: options.clone(),
        expectations: wakes.expectations.clone(),
        watched: wakes.watched.clone(),
    };
    let (acl, config) = options::session(options);
    let session = fuser::Session::from_fd(kernel, device, acl, config)?;
    let watchers = match &options.wake {
        Some(wake) => wakes.start(wake, &tree, &session.notifier(), &runtime)?,
        None => None,
    };
    notify::spawn(changes, session.notifier(), watchers)?;
    let (tell, ended) = oneshot::channel();
    let leftover = files.clone();
    thread::Builder::new()
        .name("fuse-session".into())
        .spawn(move || {
            let result = session.run();
            // The kernel drops the releases that it had not sent yet.
            runtime.block_on(leftover.release_all(&tree));
            // Nobody listens any more when the process is ending by itself.
            let _ = tell.send(result);
        })?;
    Ok(KernelSession {
        ended,
        passthrough: PassthroughState(files),
        wakes,
    })
}

/// How programs that watch are told of changes: the parts that the session's threads share.
#[derive(Clone)]
pub(crate) struct Wakes {
    expectations: Arc<Expectations>,
    watched: Arc<Watched>,
    queue: Arc<Queue>,
    tree: Arc<Mutex<Option<Filesystem>>>,
    looking: Arc<Mutex<Option<AbortHandle>>>,
}

impl Wakes {
    fn new() -> Self {
        Self {
            expectations: Arc::new(Expectations::new(random_word())),
            watched: Arc::default(),
            queue: Arc::default(),
            tree: Arc::default(),
            looking: Arc::default(),
        }
    }

    fn start(
        &self,
        options: &WakeOptions,
        tree: &Filesystem,
        notifier: &Notifier,
        runtime: &Handle,
    ) -> io::Result<Option<Watchers>> {
        let Some(device) = watches::device_at(&options.mountpoint) else {
            tracing::warn!("programs that watch the folder are not told of changes: no /proc");
            return Ok(None);
        };
        let notifier = notifier.clone();
        wake::start(
            tree.clone(),
            options.program.clone(),
            options.mountpoint.clone(),
            self.expectations.clone(),
            self.queue.clone(),
            // The kernel need not remember the name.
            Box::new(move |parent: Ino, name: &str| {
                drop(notify::forget(&notifier, parent, name));
            }),
        )?;
        let looking = watches::follow(tree.clone(), device, self.watched.clone());
        *self.looking.lock() = Some(runtime.spawn(looking).abort_handle());
        *self.tree.lock() = Some(tree.clone());
        Ok(Some(Watchers {
            tree: self.tree.clone(),
            watched: self.watched.clone(),
            queue: self.queue.clone(),
            expectations: self.expectations.clone(),
        }))
    }

    /// Lets go of the folder for as long as the result lives: whoever unmounts it must not
    /// find it busy on our account. Blocks for two seconds at most.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.queue.pause(|| self.expectations.kill_helper());
        Paused(&self.queue)
    }

    /// Tells nobody any more.
    pub(crate) fn end(&self) {
        self.queue.end();
        self.expectations.kill_helper();
        *self.tree.lock() = None;
        if let Some(looking) = self.looking.lock().take() {
            looking.abort();
        }
    }
}

/// While this lives, nothing of ours is in the folder.
pub(crate) struct Paused<'w>(&'w Queue);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// A word that nobody can guess.
fn random_word() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The tree as fuser wants to see it.
struct Kernel {
    tree: Filesystem,
    runtime: Handle,
    files: Arc<OpenFiles>,
    options: KernelOptions,
    expectations: Arc<Expectations>,
    watched: Arc<Watched>,
}

impl Kernel {
    /// Who answers instead of the tree where the helper asks.
    fn touches(&self, request: &Request) -> Option<Touches<'_>> {
        if !self.expectations.is_helper(request.pid()) {
            self.watched.used();
            return None;
        }
        Some(Touches {
            tree: &self.tree,
            expectations: &self.expectations,
        })
    }

    /// Polls `future` once here; answers at once when it is done, else from the runtime.
    fn answer<T>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        reply: impl FnOnce(T) + Send + 'static,
    ) {
        let _runtime = self.runtime.enter();
        let mut future = Box::pin(future);
        // The waker is replaced when the runtime polls: nothing is missed in between,
        // because a task is always polled once after it was spawned.
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => reply(value),
            Poll::Pending => {
                self.runtime.spawn(async move { reply(future.await) });
            }
        }
    }
}
