//! The one thread that changes the index.
//!
//! Requests become closures; the thread takes all that are waiting, runs them one after
//! the other in one transaction (each in a savepoint of its own, so that one refusal
//! undoes only itself), commits once and then answers all. Conditions are looked at
//! inside: two writers can never both find their condition true.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::files::{Files, NewFile};
use super::reclaim::Reclaimer;
use super::{Error, Result};

/// As many requests as one commit carries at most.
const BATCH: usize = 256;

/// The way to the writing thread.
pub(crate) struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a change may do: read and write the index, bring and free body files.
pub(crate) struct Change<'a> {
    /// The index, inside the transaction.
    pub(crate) index: &'a Connection,
    brought: Vec<NewFile>,
    freed: Vec<PathBuf>,
    files: &'a Files,
}

type Job = Box<dyn FnOnce(&mut Change<'_>) -> Answer + Send>;
/// Called after the commit, with the commit's failure if it failed.
type Answer = Box<dyn FnOnce(Option<&rusqlite::Error>) + Send>;

impl Writer {
    /// Starts the thread on an index opened for writing.
    pub(crate) fn start(
        index: Connection,
        files: Files,
        reclaimer: Arc<Reclaimer>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("embedded-index".into())
            .spawn(move || run(&index, &files, &reclaimer, &queue))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs a change and waits until it is committed. The change is undone when it fails;
    /// it is *not* undone when the waiting future is dropped.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |context| {
            let result = attempt(context, change);
            Box::new(move |failure| {
                let result = match failure {
                    Some(error) if result.is_ok() => Err(Error::Commit(error.to_string())),
                    _ => result,
                };
                // A caller that went away no longer wants to know.
                let _ = tell.send(result);
            })
        });
        self.enqueue(job)?;
        told.await.map_err(|_| Error::Closing)?
    }

    /// Finishes what is queued and ends the thread.
    pub(crate) fn stop(&self) {
        self.jobs.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    fn enqueue(&self, job: Job) -> Result<()> {
        let jobs = self.jobs.lock();
        jobs.as_ref()
            .ok_or(Error::Closing)?
            .send(job)
            .map_err(|_| Error::Closing)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Change<'_> {
    /// Takes a body file that the index names from this commit on.
    pub(crate) fn bring(&mut self, file: NewFile) {
        self.brought.push(file);
    }

    /// Gives up a body file that the index no longer names.
    pub(crate) fn free(&mut self, id: &str) {
        self.freed.push(self.files.path(id));
    }
}

/// Runs one change in a savepoint.
fn attempt<T>(
    context: &mut Change<'_>,
    change: impl FnOnce(&mut Change<'_>) -> Result<T>,
) -> Result<T> {
    if context.index.is_autocommit() {
        // BEGIN failed, or SQLite itself rolled back (a full disk): nothing may be written.
        return Err(Error::Commit("no transaction is open".into()));
    }
    let (brought, freed) = (context.brought.len(), context.freed.len());
    execute(context.index, "SAVEPOINT one")?;
    let result = change(context);
    if result.is_err() {
        execute(context.index, "ROLLBACK TO one")?;
        context.brought.truncate(brought);
        context.freed.truncate(freed);
    }
    execute(context.index, "RELEASE one")?;
    result
}

fn execute(index: &Connection, sql: &str) -> Result<()> {
    index.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn run(index: &Connection, files: &Files, reclaimer: &Reclaimer, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let batch = std::iter::once(first).chain(queue.try_iter()).take(BATCH);
        commit(index, files, reclaimer, batch);
    }
}

fn commit(
    index: &Connection,
    files: &Files,
    reclaimer: &Reclaimer,
    batch: impl Iterator<Item = Job>,
) {
    let mut context = Change {
        index,
        brought: Vec::new(),
        freed: Vec::new(),
        files,
    };
    let begun = index.execute_batch("BEGIN IMMEDIATE");
    let answers: Vec<Answer> = batch.map(|job| job(&mut context)).collect();
    let failure = begun.and_then(|()| index.execute_batch("COMMIT")).err();
    if let Some(error) = &failure {
        tracing::error!(%error, "the index could not commit");
        if !index.is_autocommit() {
            let _ = index.execute_batch("ROLLBACK");
        }
    } else {
        context.brought.drain(..).for_each(NewFile::keep);
    }
    for answer in answers {
        answer(failure.as_ref());
    }
    if failure.is_none() {
        reclaimer.free(context.freed);
    }
}
