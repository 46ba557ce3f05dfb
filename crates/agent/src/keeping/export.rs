//! Flows as lines in a file.

use super::args::Exporting;
use super::follower::{Keeper, missed};
use super::metrics::Told;
use anyhow::Context;
use flow_api::ring::Event;
use flow_export::{Error, Outflow, RotatingFile, Settings, line};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// Writes them.
#[derive(Debug)]
pub struct Exported {
    outflow: Outflow,
    file: RotatingFile,
    told: Arc<Told>,
    node: String,
    /// What last went wrong, while it does.
    trouble: Option<String>,
}

/// Opens the file.
pub fn open(settings: &Settings, what: &Exporting, node: String, told: Arc<Told>) -> anyhow::Result<Exported> {
    let outflow = what.outflow().context("the fields that are exported")?;
    let file = RotatingFile::open(settings)?;
    Ok(Exported { outflow, file, told, node, trouble: None })
}

impl Exported {
    fn write(&mut self, events: Vec<Event>) {
        // To write nothing always goes well.
        if events.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let (mut taken, mut lost, mut first) = (0_u64, 0_u64, None);
        let mut look = |done: Result<(), Error>| {
            if let Err(error) = done {
                lost += error.lines;
                first.get_or_insert(error);
            }
        };
        for event in events {
            taken += 1;
            look(self.file.write_line(&line(event, &self.node), now));
        }
        look(self.file.flush());
        self.told.export.lost.inc_by(lost);
        // Nothing waits any more: what is not lost is written.
        self.told.export.lines.inc_by(taken.saturating_sub(lost));
        self.note(first);
    }

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
        let told = &self.told;
        let (now, mut out) = (Instant::now(), Vec::new());
        told.export.missed.inc_by(events.iter().map(|event| missed(event)).sum());
        for event in told.sample.of(events, &told.export.sampled_out).iter() {
            let waits = self.outflow.take(event, now, &mut out);
            told.export.aggregated.inc_by(u64::from(waits));
        }
        self.write(out);
    }

    fn rest(&mut self) -> Option<Instant> {
        let mut out = Vec::new();
        self.outflow.end_interval(Instant::now(), &mut out);
        self.write(out);
        self.outflow.due()
    }

    fn finish(&mut self) {
        let mut out = Vec::new();
        self.outflow.flush(&mut out);
        self.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::tests::parsed;
    use super::*;
    use crate::node_metrics::NodeMetrics;
    use crate::probes::Probes;
    use flow_api::flow::{Flow, LostEvent, LostEventSource, Verdict};
    use flow_api::ring::What;

    fn event(what: What) -> Arc<Event> {
        Arc::new(Event { time: Default::default(), what })
    }

    #[test]
    fn lines_are_counted_when_they_are_written_and_what_was_missed_as_missed() {
        let args = parsed(&[]).unwrap();
        let told = Arc::new(Told::new(&args, None, Probes::default(), NodeMetrics::default()));
        let folder = std::env::temp_dir().join(format!("malla-exporting-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let settings = Settings { file_max_size_mb: 1, ..Settings::new(folder.join("flows.json")) };
        let mut exported = open(&settings, &Exporting::default(), "n".to_owned(), told.clone()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let lost = |source: LostEventSource, number| {
            event(What::Lost(LostEvent { source: source.into(), num_events_lost: number, ..LostEvent::default() }))
        };
        let large = Flow { summary: "x".repeat(600_000), ..Flow::default() };
        let large = event(What::flow(large));
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

    /// Three that may be left out, and one that may not.
    fn four() -> Vec<Arc<Event>> {
        let flow = |verdict: Verdict| event(What::flow(Flow { verdict: verdict as i32, ..Flow::default() }));
        [Verdict::Forwarded, Verdict::Forwarded, Verdict::Dropped, Verdict::Forwarded].map(flow).into()
    }

    /// What is in the file after all four, and after the end.
    fn written(name: &str, flags: &[&str]) -> (Arc<Told>, [String; 2]) {
        let args = parsed(flags).unwrap();
        let told = Arc::new(Told::new(&args, None, Probes::default(), NodeMetrics::default()));
        let path = std::env::temp_dir().join(format!("malla-exporting-{name}-{}", std::process::id()));
        let mut exported = open(&Settings::new(&path), &args.exporting(), "n".to_owned(), told.clone()).unwrap();
        exported.take(&four());
        let waits = exported.rest().is_some();
        let before = std::fs::read_to_string(&path).unwrap();
        exported.finish();
        let after = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((waits, exported.rest()), (before != after, None));
        (told, [before, after])
    }

    #[test]
    fn flows_that_agree_are_written_as_one_when_their_time_is_over_and_none_is_lost_at_the_end() {
        let flags = ["--hubble-export-fieldaggregate=verdict", "--hubble-export-aggregation-interval=1h"];
        let (told, [before, after]) = written("aggregated", &flags);
        assert!(before.lines().count() == 1 && before.contains("DROPPED"), "{before}");
        let number = r#""verdict":"FORWARDED","aggregate":{"unknown_direction_flow_count":3}"#;
        assert!(after.lines().count() == 2 && after.contains(number), "{after}");
        assert_eq!((told.export.lines.get(), told.export.aggregated.get(), told.export.lost.get()), (2, 3, 0));
    }

    #[test]
    fn what_is_out_of_the_sample_is_counted_and_not_as_lost() {
        let (told, [before, after]) = written("sampled", &["--flow-sampling", "1000000"]);
        assert!(before.lines().count() == 1 && before.contains("DROPPED") && before == after, "{before}");
        assert_eq!((told.export.lines.get(), told.export.sampled_out.get(), told.export.lost.get()), (1, 3, 0));
        assert_eq!(told.export.missed.get(), 0);
    }
}
