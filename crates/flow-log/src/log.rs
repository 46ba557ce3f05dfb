//! The log with its threads: one writes what waits, one converts and removes.

use crate::catalog::Kept;
use crate::moment::nanoseconds;
use crate::queue::Queue;
use crate::reader::Reader;
use crate::settings::Settings;
use crate::store::{Recovery, Store};
use crate::{Error, error::io};
use flow_api::flow::{Flow, LostEvent};
use flow_api::words;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes to the log. There is one per log; dropping it writes what waits and ends the threads.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    reader: Reader,
    threads: Vec<JoinHandle<()>>,
}

/// Looks at what the writer does. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    taken: AtomicU64,
    behind: AtomicU64,
    refused: AtomicU64,
    trouble: Mutex<Trouble>,
}

/// What last went wrong, while it does, for each of the threads.
#[derive(Debug, Default)]
struct Trouble {
    write: Option<String>,
    keep: Option<String>,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Flows that were taken since the start.
    pub taken: u64,
    /// Flows that were lost because the queue was full, or that were too large.
    pub behind: u64,
    /// Flows that were lost because the disk did not take them.
    pub refused: u64,
    /// What last went wrong with the disk, while it does.
    pub trouble: Option<String>,
}

impl Writer {
    /// Opens the log, or makes it, and starts the threads.
    ///
    /// # Errors
    /// Another writer has it; the folder is not a log's; the file system.
    pub fn open(settings: Settings) -> Result<(Self, Recovery), Error> {
        let (store, recovery) = Store::open(settings.clone(), now())?;
        let reader = store.reader();
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.queue_bytes),
            taken: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let mut writer = Self { shared: shared.clone(), reader, threads: Vec::new() };
        let (wake, woken) = sync_channel(1);
        // What the last one left behind is converted now.
        let _ = wake.try_send(());
        let catalog = store.catalog();
        let for_keeper = (settings.clone(), shared.clone());
        let keep = move || {
            while woken.recv().is_ok() {
                let kept = catalog.keep(&for_keeper.0, now());
                // What was not tried again is still as it was.
                if !matches!(kept, Ok(Kept { waiting: 1.., .. })) {
                    note(&mut for_keeper.1.trouble().keep, kept);
                }
            }
        };
        let folder = settings.folder.clone();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(io("start a thread for", &folder))
        };
        writer.threads.push(spawn("flow-log-write", Box::new(move || write(store, &settings, &shared, &wake)))?);
        writer.threads.push(spawn("flow-log-keep", Box::new(keep))?);
        Ok((writer, recovery))
    }

    /// Hands flows over, in order; never waits for the disk. Answers with the number of those that are lost because too
    /// many wait already: they are counted, and told in answers at this place.
    pub fn append<'a>(&mut self, flows: impl IntoIterator<Item = &'a Flow>) -> u64 {
        let mut offered = 0;
        let lost = self.shared.queue.offer(flows.into_iter().inspect(|_| offered += 1));
        self.shared.taken.fetch_add(offered - lost, Relaxed);
        self.shared.behind.fetch_add(lost, Relaxed);
        lost
    }

    /// Notes at this place that events were lost before they came here. False: they were left out on purpose, and there is no room
    /// to say so now.
    pub fn append_loss(&mut self, lost: &LostEvent) -> bool {
        self.shared.queue.lost(lost)
    }

    /// See [`Watcher::sync`]; however long it takes.
    ///
    /// # Errors
    /// The same.
    pub fn sync(&self) -> Result<(), Error> {
        self.watcher().sync(Duration::MAX)
    }

    /// See [`Watcher::status`].
    #[must_use]
    pub fn status(&self) -> Status {
        self.watcher().status()
    }

    /// For others.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher { shared: self.shared.clone() }
    }

    /// For reading.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Watcher {
    /// Waits until all that was taken is on the disk, but no longer than this. Not for the path of events.
    ///
    /// # Errors
    /// It is not: the disk refused or stands still, or the log is closed.
    pub fn sync(&self, patience: Duration) -> Result<(), Error> {
        let refused = self.shared.refused.load(Relaxed);
        let answered = self.shared.queue.sync(patience);
        let is_whole = answered && self.shared.refused.load(Relaxed) == refused;
        let trouble = self.shared.trouble().write.clone();
        match trouble {
            None if is_whole => Ok(()),
            trouble => {
                Err(Error::Unsynced(trouble.unwrap_or_else(|| "the disk did not take everything in time".to_owned())))
            }
        }
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let trouble = shared.trouble();
        Status {
            taken: shared.taken.load(Relaxed),
            behind: shared.behind.load(Relaxed),
            refused: shared.refused.load(Relaxed),
            trouble: trouble.write.as_ref().or(trouble.keep.as_ref()).cloned(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remembers what goes wrong, and tells it once.
fn note<T>(noted: &mut Option<String>, done: Result<T, Error>) {
    let trouble = done.err().map(|error| words(&error));
    if let Some(trouble) = trouble.as_ref().filter(|trouble| noted.as_ref() != Some(*trouble)) {
        tracing::warn!(%trouble, "flow log");
    }
    *noted = trouble;
}

fn write(mut store: Store, settings: &Settings, shared: &Shared, wake: &SyncSender<()>) {
    loop {
        let work = shared.queue.take(settings.sync_interval);
        let mut done = Ok(());
        for block in &work.blocks {
            if let Err(error) = store.append(block, now()) {
                shared.refused.fetch_add(u64::from(block.flows), Relaxed);
                shared.queue.not_written(block);
                done = Err(error);
            }
        }
        let done = done.and_then(|()| store.sync()).and_then(|_| store.close_if_due(now()));
        note(&mut shared.trouble().write, done);
        // Also when nothing was closed: there may be something old.
        let _ = wake.try_send(());
        shared.queue.answer(work.asked);
        if work.is_last {
            return;
        }
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    nanoseconds(&flow_api::moment::now())
}
