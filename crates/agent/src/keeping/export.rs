//! Flows as lines in a file.

use super::follower::Keeper;
use super::metrics::Told;
use anyhow::Context;
use flow_api::flow::LostEventSource;
use flow_api::ring::{Event, What};
use flow_export::{Error, Lines, RotatingFile, Settings};
use jiff::Timestamp;
use std::sync::Arc;

/// Writes them.
#[derive(Debug)]
pub struct Exported {
    lines: Lines,
    file: RotatingFile,
    told: Arc<Told>,
    node: String,
    /// What last went wrong, while it does.
    trouble: Option<String>,
}

/// Opens the file.
pub fn open(settings: &Settings, node: String, told: Arc<Told>) -> anyhow::Result<Exported> {
    let lines = Lines::new(settings).context("the fields that are exported")?;
    let file = RotatingFile::open(settings)?;
    Ok(Exported { lines, file, told, node, trouble: None })
}

impl Exported {
    /// Tells trouble once.
    fn note(&mut self, error: Option<Error>) {
        let trouble = error.map(|error| format!("{error}: {}", error.source));
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(*trouble)) {
            tracing::warn!("export of flows: {trouble}");
        }
        self.trouble = trouble;
    }
}

impl Keeper for Exported {
    fn take(&mut self, events: &[Arc<Event>]) {
        let now = Timestamp::now();
        let (mut taken, mut lost, mut first) = (0_u64, 0_u64, None);
        let mut look = |done: Result<(), Error>| {
            if let Err(error) = done {
                lost += error.lines;
                first.get_or_insert(error);
            }
        };
        for event in events {
            self.told.export.missed.inc_by(missed(event));
            let Some(line) = self.lines.line(event, &self.node) else { continue };
            taken += 1;
            look(self.file.write_line(&line, now));
        }
        look(self.file.flush());
        self.told.export.lost.inc_by(lost);
        // Nothing waits any more: what is not lost is written.
        self.told.export.lines.inc_by(taken.saturating_sub(lost));
        self.note(first);
    }
}

/// Events that came faster than this follower could take them; all other losses were the ring's already.
fn missed(event: &Event) -> u64 {
    match &event.what {
        What::Lost(lost) if lost.source == LostEventSource::HubbleRingBuffer as i32 => lost.num_events_lost,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::tests::parsed;
    use super::*;
    use crate::probes::Probes;
    use flow_api::flow::{Flow, LostEvent};

    fn event(what: What) -> Arc<Event> {
        Arc::new(Event { time: Default::default(), what })
    }

    #[test]
    fn lines_are_counted_when_they_are_written_and_what_was_missed_as_missed() {
        let args = parsed(&[]).unwrap();
        let told = Arc::new(Told::new(&args, None, Probes::default()));
        let folder = std::env::temp_dir().join(format!("malla-exporting-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let settings = Settings { file_max_size_mb: 1, ..Settings::new(folder.join("flows.json")) };
        let mut exported = open(&settings, "n".to_owned(), told.clone()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let lost = |source: LostEventSource, number| {
            event(What::Lost(LostEvent { source: source.into(), num_events_lost: number, ..LostEvent::default() }))
        };
        let large = Flow { summary: "x".repeat(600_000), ..Flow::default() };
        let large = event(What::Flow(Box::new(large)));
        // There is room for one of the two, and no folder for another file.
        exported.take(&[
            lost(LostEventSource::HubbleRingBuffer, 5),
            lost(LostEventSource::PerfEventRingBuffer, 9),
            large.clone(),
            large,
        ]);
        let counted = &told.export;
        assert_eq!((counted.lines.get(), counted.lost.get(), counted.missed.get()), (3, 1, 5));
    }
}
