//! The one thread that writes: jobs that arrive together share a commit.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use tokio::sync::oneshot;

use super::slots::{Change, SlotTables};
use super::{Store, open, unavailable};
use crate::backend::BackendError;

/// Jobs that may wait; beyond it the disk is what is slow, and callers are told so.
const QUEUE: usize = 256;

/// Jobs in one commit.
const BATCH: usize = 64;

/// How often a store that failed is tried again without being asked.
const REOPEN: Duration = Duration::from_secs(1);

/// Tells the caller, once it is known whether the commit is on disk.
type Finish = Box<dyn FnOnce(Result<(), BackendError>) + Send>;

/// Works a change out against the tables as the jobs before it have left them.
type Job = Box<dyn FnOnce(&Store, &mut SlotTables<'_>) -> Result<Change, BackendError> + Send>;

/// A job and who waits for it.
struct Item {
    job: Job,
    finish: Finish,
}

/// The writer's end of the queue; dropping it ends the thread once its jobs are done.
pub(super) struct Writer {
    queue: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been logged where it happened.
            let _panicked = thread.join();
        }
    }
}

impl Writer {
    pub(super) fn start(store: Arc<Store>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(&store, &jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues one change.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Store, &mut SlotTables<'_>) -> Result<(Change, T), BackendError> + Send + 'static,
        answer: oneshot::Sender<Result<T, BackendError>>,
    ) -> Result<(), BackendError> {
        // What the job found travels beside it: the answer is known before the commit, and told after it.
        let (found, finding) = sync_channel(1);
        let job: Job = Box::new(move |store, tables| {
            let (change, result) = change(store, tables)?;
            // The receiver lives in `finish`, which outlives the job.
            let _kept = found.send(result);
            Ok(change)
        });
        let finish: Finish = Box::new(move |done| {
            let result = done.and_then(|()| finding.try_recv().map_err(|_| BackendError::OutcomeUnknown));
            // Whoever asked may have gone.
            let _gone = answer.send(result);
        });
        let queue = self.queue.as_ref().ok_or_else(|| unavailable(()))?;
        queue.try_send(Item { job, finish }).map_err(unavailable)
    }
}

fn run(store: &Store, jobs: &Receiver<Item>) {
    loop {
        let first = if store.database().is_ok() {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(REOPEN)
        };
        let mut batch = match first {
            Ok(item) => vec![item],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        batch.extend(jobs.try_iter().take(BATCH - 1));
        if store.database().is_err() {
            reopen(store);
        }
        commit(store, batch);
    }
}

/// After an I/O error redb must be closed and opened: its file is as the last commit left it.
fn reopen(store: &Store) {
    match open::database(&store.settings.file) {
        Ok(database) => {
            store.set_database(Some(Arc::new(database)));
            tracing::info!("the store can be written again");
        }
        // Said once already, when it failed.
        Err(_) => tracing::debug!("the store cannot be opened yet"),
    }
}

fn commit(store: &Store, batch: Vec<Item>) {
    let database = match store.database() {
        Ok(database) => database,
        Err(closed) => return batch.into_iter().for_each(|item| (item.finish)(Err(closed))),
    };
    let mut outcomes: Vec<(Finish, Result<(), BackendError>)> = Vec::with_capacity(batch.len());
    let written = write(store, &database, batch, &mut outcomes);
    drop(database);
    if written == Err(BackendError::OutcomeUnknown) {
        tracing::error!("the store cannot be written: check the disk of backend.embedded.file");
        store.set_database(None);
    }
    for (finish, outcome) in outcomes {
        finish(outcome.and(written));
    }
}

/// One transaction with all jobs that can be carried out.
fn write(
    store: &Store,
    database: &Database,
    batch: Vec<Item>,
    outcomes: &mut Vec<(Finish, Result<(), BackendError>)>,
) -> Result<(), BackendError> {
    // A job fails by itself, the file fails for all. Where the file fails before the commit nothing has changed, but
    // redb takes nothing more either; where it fails in the commit nobody knows until it is opened again.
    let broken = |_: redb::Error| BackendError::OutcomeUnknown;
    let mut batch = batch.into_iter();
    let mut apply = |transaction: &redb::WriteTransaction| -> Result<(), redb::Error> {
        let mut tables = SlotTables::open(transaction)?;
        for Item { job, finish } in batch.by_ref() {
            let change = job(store, &mut tables);
            outcomes.push((finish, change.as_ref().map(drop).map_err(|error| *error)));
            if let Ok(change) = change {
                tables.apply(&change)?;
            }
        }
        Ok(())
    };
    let result = database
        .begin_write()
        .map_err(redb::Error::from)
        .and_then(|transaction| apply(&transaction).and_then(|()| transaction.commit().map_err(redb::Error::from)))
        .map_err(broken);
    outcomes.extend(batch.map(|item| (item.finish, Ok(()))));
    result
}
