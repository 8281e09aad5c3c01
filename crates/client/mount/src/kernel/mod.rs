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

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use filesystem::Filesystem;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use files::OpenFiles;
pub use files::Passthrough;
pub use notify::{Changes, watcher};

/// A session with the kernel, served by its own threads until the folder is unmounted.
pub(crate) struct KernelSession {
    /// Resolves when the kernel has ended the session.
    pub(crate) ended: oneshot::Receiver<io::Result<()>>,
    /// Whether files are handed to the kernel.
    pub(crate) passthrough: PassthroughState,
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
    let kernel = Kernel {
        tree: tree.clone(),
        runtime: runtime.clone(),
        files: files.clone(),
        options: options.clone(),
    };
    let (acl, config) = options::session(options);
    let session = fuser::Session::from_fd(kernel, device, acl, config)?;
    notify::spawn(changes, session.notifier())?;
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
    })
}

/// The tree as fuser wants to see it.
struct Kernel {
    tree: Filesystem,
    runtime: Handle,
    files: Arc<OpenFiles>,
    options: KernelOptions,
}

impl Kernel {
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
