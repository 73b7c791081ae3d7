//! Sees that a file has changed: by inotify on its directory, and by looking, for what inotify does not tell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How often the file is read without being told to: network file systems tell nobody (`inotify(7)`).
const POLL: Duration = Duration::from_secs(30);

/// How long changes must have ended before the file is read: editors and `mv` come in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// A thread that calls back when the file may have changed. Ends when dropped.
pub(super) struct Watch {
    wake: SyncSender<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the directory and never the file: a file that is replaced takes the watch on it along, and the kubelet
    /// replaces files by swapping a link.
    pub(super) fn start(path: &Path, changed: impl Fn() + Send + 'static) -> Self {
        let (wake, woken) = sync_channel(1);
        let watcher = {
            let wake = wake.clone();
            let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
            let told = move |event: notify::Result<Event>| {
                if event.map_or(true, |event| concerns(&event, &name)) {
                    // If the channel is full, a wake-up waits already and will see this change too.
                    let _full = wake.try_send(());
                }
            };
            notify::recommended_watcher(told).and_then(|mut watcher| {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                watcher.watch(directory.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
                Ok(watcher)
            })
        };
        let watcher = watcher
            .inspect_err(|_| tracing::warn!("the grants file cannot be watched: it is read again every 30 s"))
            .ok();
        let thread = std::thread::Builder::new().name("grants".into()).stack_size(512 * 1024);
        if thread.spawn(move || run(&woken, &changed)).is_err() {
            tracing::warn!("no thread to watch the grants file: SIGHUP reads it again");
        }
        Self { wake, _watcher: watcher }
    }

    /// Asks for a call back now; false if nobody is there to do it.
    pub(super) fn ask(&self) -> bool {
        !matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

/// Whether an event of the directory is about our file. Names that begin with `..` are the kubelet's: it swaps `..data`
/// and never touches the file. That somebody opened the file is no change, and we do so ourselves.
fn concerns(event: &Event, name: &OsStr) -> bool {
    let opened = matches!(event.kind, EventKind::Access(AccessKind::Open(_) | AccessKind::Read));
    let about = |path: &PathBuf| {
        path.file_name().is_none_or(|changed| changed == name || changed.as_encoded_bytes().starts_with(b".."))
    };
    !opened && (event.paths.is_empty() || event.paths.iter().any(about))
}

fn run(woken: &Receiver<()>, changed: &impl Fn()) {
    loop {
        match woken.recv_timeout(POLL) {
            Ok(()) => {
                // Not for ever: somebody may write without a pause.
                for _ in 0..20 {
                    if woken.recv_timeout(QUIET).is_err() {
                        break;
                    }
                }
                changed();
            }
            Err(RecvTimeoutError::Timeout) => changed(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
