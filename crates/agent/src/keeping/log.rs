//! The log on disk, and how the API asks it.

use flow_api::flow::Flow;
use flow_api::ring::{Event, What};
use flow_api::server::{Archive, Question, Told};
use flow_log::{Order, Query, Reader, Settings, Status, Summary, Watcher, Writer};
use prost_types::Timestamp;
use std::sync::Arc;

/// A log that is written here.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
    archive: Arc<OnDisk>,
}

/// For those who ask.
#[derive(Debug)]
pub struct OnDisk {
    reader: Reader,
    watcher: Watcher,
}

impl Log {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// Another agent has it; the folder is not a log's; the file system.
    pub fn open(settings: Settings) -> Result<Self, flow_log::Error> {
        let (writer, recovery) = Writer::open(settings)?;
        tracing::info!("{} flows are on disk", recovery.rows);
        if recovery.damaged > 0 || recovery.cut > 0 {
            tracing::warn!("of the flows on disk {} parts and {} bytes are spoilt", recovery.damaged, recovery.cut);
        }
        let archive = OnDisk { reader: writer.reader(), watcher: writer.watcher() };
        Ok(Self { writer, archive: Arc::new(archive) })
    }

    pub fn archive(&self) -> Arc<OnDisk> {
        self.archive.clone()
    }

    pub fn into_writer(self) -> Writer {
        self.writer
    }
}

impl OnDisk {
    pub fn status(&self) -> (Status, Summary) {
        (self.watcher.status(), self.reader.summary())
    }
}

impl Archive for OnDisk {
    fn ask(&self, question: &Question) -> Result<Told, String> {
        // What has just left the ring may still wait for the disk. Where that takes nothing, there is what was before.
        let unsynced = self.watcher.sync().err().map(|error| Err(error.to_string()));
        let query = Query {
            since: question.since.as_ref().map(nanoseconds),
            until: question.until.as_ref().map(nanoseconds),
            order: if question.newest_first { Order::NewestFirst } else { Order::OldestFirst },
            ..Query::default()
        };
        let query = query.filtered(&question.whitelist, &question.blacklist).map_err(|error| error.to_string())?;
        let told = self.reader.query(query).map(|event| event.map_err(|damage| damage.to_string()));
        Ok(Box::new(unsynced.into_iter().chain(told)))
    }
}

/// Appends events; answers with the number of flows that were lost, because the disk is too slow.
pub fn append(writer: &mut Writer, events: &[Arc<Event>]) -> u64 {
    let mut lost = 0;
    for run in events.chunk_by(|one, next| is_flow(one) && is_flow(next)) {
        lost += writer.append(run.iter().filter_map(|event| flow(event)));
        for event in run {
            if let What::Lost(event) = &event.what {
                writer.append_loss(event);
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

/// Since 1970; what the log can't tell apart is at its ends.
fn nanoseconds(time: &Timestamp) -> i64 {
    let whole = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN + 1 } else { i64::MAX })
}
