//! Keeps one process running: adopts it if it runs already, starts it if not, and again when it ends.
//!
//! The processes do not belong to the supervisor's life: they are neither told nor harmed when it ends, and the next
//! one finds them by their files.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use network_namespace::NetNs;
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, report::Reporter};
use crate::{
    apply::namespace_path,
    files::Folders,
    launch::Launch,
    process::{Process, ProcessId},
};

/// Keeps `launch` running until `cancel`, which leaves it running.
pub async fn keep(launch: Launch, folders: Folders, reporter: Reporter, cancel: CancellationToken) {
    let record = folders.process(&launch.name);
    let mut backoff = Backoff::default();
    loop {
        let (process, child) = match adopt_or_start(&launch, &folders) {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(process = launch.name, %error, "start");
                reporter.child(&launch.name, |child| {
                    child.process = None;
                    child.last_end = Some(format!("cannot be started: {error}"));
                });
                tokio::select! {
                    () = tokio::time::sleep(backoff.after(Duration::ZERO)) => continue,
                    () = cancel.cancelled() => return,
                }
            }
        };
        if let Err(error) = process.id().record(&record) {
            tracing::error!(process = launch.name, %error, "write {}", record.display());
        }
        let adopted = child.is_none();
        tracing::info!(process = launch.name, pid = process.id().pid, adopted, "running");
        reporter.child(&launch.name, |report| {
            report.process = Some(process.id().clone());
            report.adopted = adopted;
        });
        let started = Instant::now();
        tokio::select! {
            ended = process.ended() => {
                if let Err(error) = ended {
                    tracing::error!(process = launch.name, %error, "watch");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            () = cancel.cancelled() => return,
        }
        let how = child.and_then(|mut child| child.wait().ok()).map_or("ended".to_owned(), describe);
        tracing::warn!(process = launch.name, how, "ended");
        reporter.child(&launch.name, |report| {
            report.process = None;
            report.restarts += 1;
            report.last_end = Some(how);
        });
        tokio::select! {
            () = tokio::time::sleep(backoff.after(started.elapsed())) => {}
            () = cancel.cancelled() => return,
        }
    }
}

fn adopt_or_start(launch: &Launch, folders: &Folders) -> io::Result<(Process, Option<Child>)> {
    if let Some(running) = ProcessId::recorded(&folders.process(&launch.name)).and_then(|id| id.open()) {
        return Ok((running, None));
    }
    let child = start(launch, &folders.log(&launch.name))?;
    // A child that has ended already is a zombie until it is waited for: its number is still its own.
    let id = ProcessId::of(child.id() as i32)?;
    match id.open() {
        Some(process) => Ok((process, Some(child))),
        None => {
            let how = child.wait_with_output().map(|output| describe(output.status))?;
            Err(io::Error::other(format!("it ended at once ({how}), see {}", folders.log(&launch.name).display())))
        }
    }
}

/// Starts the process inside its namespace: a child gets the namespace of the thread that makes it.
fn start(launch: &Launch, log: &Path) -> io::Result<Child> {
    let log = open_log(log)?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let namespace = NetNs::open(namespace_path(&launch.namespace)).map_err(io::Error::other)?;
    namespace.run(|| command.spawn()).map_err(io::Error::other)?
}

/// Opens a log for appending; one that has grown large is put aside first (it lies in memory).
pub fn open_log(file: &Path) -> io::Result<File> {
    if fs::metadata(file).is_ok_and(|metadata| metadata.len() > LARGEST_LOG) {
        fs::rename(file, file.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// In bytes.
const LARGEST_LOG: u64 = 16 << 20;
