//! The supervisor as `up` sees it: found or started, and watched until it is done.

use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::Instant;

use crate::{
    files::Folders,
    process::ProcessId,
    progress::Progress,
    state::LabState,
    supervise::{
        SUPERVISOR,
        child::open_log,
        parts::own_program,
        report::{Phase, Report},
    },
};

/// Whether the lab has a running supervisor.
#[must_use]
pub fn runs(folders: &Folders) -> bool {
    ProcessId::recorded(&folders.process(SUPERVISOR)).is_some_and(|id| id.is_running())
}

/// The supervisor that is there, or the one that was just started.
pub struct Supervisor {
    started: Option<Child>,
}

impl Supervisor {
    /// Starts one unless it runs.
    pub fn find_or_start(state: &LabState, folders: &Folders) -> anyhow::Result<Self> {
        if runs(folders) {
            return Ok(Self { started: None });
        }
        // What the last one told is of no use any more.
        match fs::remove_file(folders.supervisor_report()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log = open_log(&folders.log(SUPERVISOR)).context("open the supervisor's log")?;
        let child = Command::new(own_program()?)
            .args(["lab", "supervise", "--name", state.spec.name.as_str()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the supervisor")?;
        Ok(Self { started: Some(child) })
    }

    /// Waits until everything was started once.
    pub async fn wait_until_running(&mut self, folders: &Folders, progress: &mut Progress) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(report) = Report::read(&folders.supervisor_report()) {
                match report.phase {
                    Phase::Running => return Ok(()),
                    Phase::StartingApi => progress.detail("starting the API"),
                    Phase::CreatingNodes => progress.detail("creating the nodes"),
                    Phase::Stopping => {}
                }
                if let Some(child) = report.children.iter().find(|child| child.restarts >= MANY_RESTARTS) {
                    let log = folders.log(&child.name);
                    bail!("{} ends again and again: {}", child.name, last_words(&log));
                }
            }
            self.check(folders)?;
            if Instant::now() > deadline {
                bail!(
                    "the supervisor is not done after {} s, see {}",
                    START_LIMIT.as_secs(),
                    folders.log(SUPERVISOR).display()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it still runs.
    pub fn check(&mut self, folders: &Folders) -> anyhow::Result<()> {
        let how = match &mut self.started {
            // Not our child: all that can be known is that it is gone.
            None if runs(folders) => return Ok(()),
            None => String::new(),
            Some(child) => match child.try_wait()? {
                None => return Ok(()),
                Some(status) => status.signal().map_or(String::new(), |signal| format!(" (signal {signal})")),
            },
        };
        bail!("the supervisor ended{how}: {}", last_words(&folders.log(SUPERVISOR)));
    }
}

/// The last line of a log, and where the rest is.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{} (all of it in {})", line.trim(), log.display()),
        None => format!("see {}", log.display()),
    }
}

/// An API that is not there by then has a reason, which its log tells.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A child that was started so often does not start.
const MANY_RESTARTS: u32 = 8;
/// Soon enough not to be noticed.
pub const POLL: Duration = Duration::from_millis(50);
