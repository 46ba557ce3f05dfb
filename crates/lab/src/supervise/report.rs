//! What the supervisor tells about itself: one small file, always whole, for `status` and `up`.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::{read_json, write_json},
    process::ProcessId,
};

/// The content of `supervise.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub supervisor: ProcessId,
    pub phase: Phase,
    pub children: Vec<ChildReport>,
    pub forwards: Vec<ForwardReport>,
    /// What runs inside the supervisor: controllers and Pod runners.
    pub tasks: Vec<TaskReport>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    StartingApi,
    CreatingNodes,
    Running,
    Stopping,
}

/// A process that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildReport {
    pub name: String,
    /// `None` while it waits to be started again.
    pub process: Option<ProcessId>,
    /// Started by an earlier supervisor.
    pub adopted: bool,
    pub restarts: u32,
    /// How it last ended.
    pub last_end: Option<String>,
}

/// A port that is served.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForwardReport {
    pub listen: String,
    pub protocol: String,
    pub target: String,
    pub what: String,
}

/// A task that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReport {
    pub name: String,
    pub restarts: u32,
    pub last_error: Option<String>,
}

/// The one writer of the file; clones share it.
#[derive(Debug, Clone)]
pub struct Reporter {
    file: PathBuf,
    report: Arc<Mutex<Report>>,
}

impl Reporter {
    /// Starts a new report.
    #[must_use]
    pub fn new(file: PathBuf, supervisor: ProcessId) -> Self {
        let report = Report {
            supervisor,
            phase: Phase::StartingApi,
            children: Vec::new(),
            forwards: Vec::new(),
            tasks: Vec::new(),
        };
        Self { file, report: Arc::new(Mutex::new(report)) }
    }

    /// Changes the report and writes it (to a memory file system: a few microseconds).
    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut report);
        if let Err(error) = write_json(&self.file, &*report) {
            tracing::warn!(%error, file = %self.file.display(), "write the report");
        }
    }

    /// Changes the entry of one child, made if it is new.
    pub fn child(&self, name: &str, change: impl FnOnce(&mut ChildReport)) {
        self.update(|report| {
            let index = report.children.iter().position(|child| child.name == name).unwrap_or_else(|| {
                let process = None;
                report.children.push(ChildReport {
                    name: name.into(),
                    process,
                    adopted: false,
                    restarts: 0,
                    last_end: None,
                });
                report.children.len() - 1
            });
            change(&mut report.children[index]);
        });
    }

    /// Changes the entry of one task, made if it is new.
    pub fn task(&self, name: &str, change: impl FnOnce(&mut TaskReport)) {
        self.update(|report| {
            let index = report.tasks.iter().position(|task| task.name == name).unwrap_or_else(|| {
                report.tasks.push(TaskReport { name: name.into(), restarts: 0, last_error: None });
                report.tasks.len() - 1
            });
            change(&mut report.tasks[index]);
        });
    }
}

impl Report {
    /// Reads the last report, which may be of a supervisor that has ended.
    pub fn read(file: &std::path::Path) -> io::Result<Self> {
        read_json(file)
    }
}
