//! Flows as lines in a file.

use super::follower::Keeper;
use super::metrics::Told;
use anyhow::Context;
use flow_api::ring::Event;
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
        let mut first = None;
        let mut look = |done: Result<(), Error>| {
            if let Err(error) = done {
                self.told.export.lost.inc_by(error.lines);
                first.get_or_insert(error);
            }
        };
        for event in events {
            let Some(line) = self.lines.line(event, &self.node) else { continue };
            self.told.export.lines.inc();
            look(self.file.write_line(&line, now));
        }
        look(self.file.flush());
        self.note(first);
    }
}
