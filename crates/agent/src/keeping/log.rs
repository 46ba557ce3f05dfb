//! The log on disk, and how the API asks it.

use crate::error::chain;
use flow_api::flow::{Flow, LostEvent};
use flow_api::moment::nanoseconds;
use flow_api::ring::{Event, What};
use flow_api::server::{Archive, Question, Told};
use flow_log::{Order, Query, Reader, Settings, Status, Summary, Watcher, Writer};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The log. It is opened by whoever writes to it, on a thread of his: a disk may take its time, and a node's network does not wait for it.
#[derive(Debug)]
pub struct Log {
    settings: Settings,
    /// For those who ask; `Err`: why nothing is kept.
    opened: OnceLock<Result<OnDisk, String>>,
}

#[derive(Debug)]
struct OnDisk {
    reader: Reader,
    watcher: Watcher,
}

impl Log {
    /// Not opened yet.
    #[must_use]
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, opened: OnceLock::new() }
    }

    /// Opens it, or makes it.
    ///
    /// # Errors
    /// Another agent has it, the folder is not a log's, or the file system says no; that is told to those who ask, too.
    pub(super) fn open(&self) -> Result<Writer, String> {
        match Writer::open(self.settings.clone()) {
            Ok((writer, recovery)) => {
                tracing::info!("{} flows are on disk", recovery.rows);
                if recovery.damaged > 0 || recovery.cut > 0 {
                    let (parts, bytes) = (recovery.damaged, recovery.cut);
                    tracing::warn!("of the flows on disk {parts} parts and {bytes} bytes are spoilt");
                }
                let _ = self.opened.set(Ok(OnDisk { reader: writer.reader(), watcher: writer.watcher() }));
                Ok(writer)
            }
            Err(error) => {
                let why = format!("flows are not kept: {}", chain(&error));
                let _ = self.opened.set(Err(why.clone()));
                Err(why)
            }
        }
    }

    /// `None`: it is not open.
    pub(super) fn status(&self) -> Option<(Status, Summary)> {
        let opened = self.opened.get()?.as_ref().ok()?;
        Some((opened.watcher.status(), opened.reader.summary()))
    }
}

impl Archive for Log {
    fn ask(&self, question: &Question) -> Result<Told, String> {
        let opened = self.opened.get().ok_or("the log of flows is still being opened: ask again")?;
        let OnDisk { reader, watcher } = opened.as_ref().map_err(String::clone)?;
        // What has just left the ring may still wait for the disk. Where that takes nothing, or stands still, there is what was before.
        let unsynced = watcher.sync(PATIENCE).err().map(|error| Err(error.to_string()));
        let query = Query {
            since: question.since.as_ref().map(nanoseconds),
            until: question.until.as_ref().map(nanoseconds),
            order: if question.newest_first { Order::NewestFirst } else { Order::OldestFirst },
            ..Query::default()
        };
        let query = query.filtered(&question.whitelist, &question.blacklist).map_err(|error| error.to_string())?;
        let gone = question.gone.clone();
        let told = reader.query(query).until(move || gone.is_cancelled());
        let told = told.map(|event| event.map_err(|damage| damage.to_string()));
        Ok(Box::new(unsynced.into_iter().chain(told)))
    }
}

/// Appends events; answers with the number of flows that were lost, because the disk is too slow.
pub fn append(writer: &mut Writer, events: &[Arc<Event>]) -> u64 {
    let mut lost = 0;
    for run in events.chunk_by(|one, next| is_flow(one) && is_flow(next)) {
        lost += writer.append(run.iter().filter_map(|event| flow(event)));
        for event in run {
            if let What::Lost(lost) = &event.what {
                // The kernel does not say when; the ring says when it was told.
                // Of what the ring tells none was left out on purpose.
                let _ = writer.append_loss(&LostEvent { last: lost.last.or(Some(event.time)), ..*lost });
            }
        }
    }
    lost
}

fn flow(event: &Event) -> Option<&Flow> {
    match &event.what {
        What::Flow(flow) => Some(flow),
        _ => None,
    }
}

fn is_flow(event: &Event) -> bool {
    flow(event).is_some()
}

/// For a disk. Whoever asks waits for it, and has one of the few places meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;
    use std::path::PathBuf;

    /// A folder of this test alone, removed at its end.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn flows_and_losses_are_told_in_their_order_and_time() {
        let folder = Folder(std::env::temp_dir().join(format!("malla-keeping-{}", std::process::id())));
        let settings = Settings { most_age: Duration::from_secs(1 << 40), ..Settings::new(&folder.0) };
        let log = Log::new(settings);
        assert!(log.ask(&Question::default()).is_err_and(|why| why.contains("still being opened")));
        let mut writer = log.open().unwrap();
        let flow = |seconds: i64| What::flow(Flow { time: Some(time(seconds)), ..Flow::default() });
        let lost = |number| What::Lost(LostEvent { num_events_lost: number, ..LostEvent::default() });
        let whats = [flow(1), flow(2), lost(7), flow(4), lost(8)];
        let events: Vec<_> =
            (1..).zip(whats).map(|(seconds, what)| Arc::new(Event { time: time(seconds), what })).collect();
        assert_eq!(append(&mut writer, &events), 0);
        let told = |since: i64, until: i64, newest_first| {
            let question =
                Question { since: Some(time(since)), until: Some(time(until)), newest_first, ..Question::default() };
            let told = log.ask(&question).unwrap();
            told.map(|event| event.unwrap().time.seconds).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 9, false), [1, 2, 3, 4, 5]);
        assert_eq!(told(2, 4, true), [4, 3, 2]);
        assert_eq!(told(6, 9, false), [0_i64; 0]);
        assert_eq!(log.status().unwrap().1.oldest, Some(1_000_000_000));
        let second = Log::new(log.settings.clone());
        assert!(second.open().is_err());
        assert!(second.ask(&Question::default()).is_err_and(|why| why.contains("flows are not kept: ")));
    }
}
