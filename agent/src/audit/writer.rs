//! The thread that writes where the runtime must not wait: pipes, disks, and every sink that fails.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::queue::{Queue, line_start};
use super::sink::Device;

/// How long a failing or full sink is left alone, and so the longest time in which a repaired one goes unnoticed.
const RETRY: Duration = Duration::from_millis(50);

/// Formatting and I/O need little; the default would map 2 MiB.
const STACK_BYTES: usize = 128 * 1024;

/// Starts the writer of `queue`. It ends by itself some time after the queue was closed.
pub(super) fn start(queue: &Arc<Queue>) -> io::Result<()> {
    let queue = Arc::clone(queue);
    std::thread::Builder::new().name("audit".into()).stack_size(STACK_BYTES).spawn(move || run(&queue)).map(drop)
}

/// Lines that were taken, and how far they are written.
struct Batch {
    bytes: Vec<u8>,
    position: usize,
    /// An outage of the sink has been logged and has not ended.
    failing: bool,
}

fn run(queue: &Queue) {
    let mut batch = Batch { bytes: Vec::new(), position: 0, failing: false };
    loop {
        let mut state = queue.lock();
        if batch.position == batch.bytes.len() {
            state.busy = false;
            while !(state.handed_over || state.reopen || state.closing) {
                state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closing && !state.handed_over {
                return;
            }
            batch.position = Queue::take(&mut state, &mut batch.bytes);
        } else if state.closing {
            // Nobody waits any more, and a sink that stands still would hold the thread for ever.
            return;
        }
        let reopen = std::mem::take(&mut state.reopen);
        let device = Arc::clone(&state.device);
        drop(state);

        let device = if reopen { reopened(queue, device, &mut batch) } else { device };
        write(queue, &*device, &mut batch);
    }
}

/// Writes until the batch is done or the sink stops taking it.
fn write(queue: &Queue, device: &dyn Device, batch: &mut Batch) {
    while let Some(rest) = batch.bytes.get(batch.position..).filter(|rest| !rest.is_empty()) {
        let answer = device.write(rest);
        queue.metrics.writes.inc();
        match answer {
            Ok(taken) if taken > 0 => {
                batch.position += taken;
                // The lock orders this against a request that is about to register: it sees the new position, or we
                // see the request.
                let waker = {
                    let mut state = queue.lock();
                    queue.advance(taken);
                    queue.first_written(&mut state)
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
                if std::mem::take(&mut batch.failing) {
                    tracing::info!("the audit sink takes records again");
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                device.wait(RETRY);
                return;
            }
            outcome => {
                if !std::mem::replace(&mut batch.failing, true) {
                    let error = outcome.err().map_or("wrote nothing", Errno::desc);
                    tracing::error!(error, "the audit sink fails: requests are refused until it takes records again");
                }
                pause(queue);
                return;
            }
        }
    }
}

/// Waits for the next try, or until someone asks for something.
fn pause(queue: &Queue) {
    let state = queue.lock();
    if !(state.closing || state.reopen) {
        drop(queue.changed.wait_timeout(state, RETRY));
    }
}

/// Opens the sink's name again and puts it in the place of `old`; keeps `old` where that fails.
fn reopened(queue: &Queue, old: Arc<dyn Device>, batch: &mut Batch) -> Arc<dyn Device> {
    let new: Arc<dyn Device> = match old.reopen() {
        None => return old,
        Some(Ok(device)) => device.into(),
        Some(Err(error)) => {
            tracing::error!(%error, "the audit file was not reopened: the one in use stays");
            return old;
        }
    };
    // Under the same name still the same file: a line that is half written goes on where it stopped. Another file gets
    // the line from its beginning, and the half in the old one is ended, so that it spoils no line but itself.
    if new.identity() != old.identity() {
        let start = line_start(&batch.bytes, batch.position);
        if start < batch.position {
            let _ended = old.write(b"\n");
            let again = batch.position - start;
            batch.position = start;
            queue.retreat(again);
        }
        if new.ends_torn() {
            let _ended = new.write(b"\n");
        }
    }
    queue.lock().device = Arc::clone(&new);
    tracing::info!("the audit file was reopened");
    new
}
