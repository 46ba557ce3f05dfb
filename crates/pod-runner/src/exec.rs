//! Commands in a running container: exec probes, hooks, `malla lab exec`.

mod command;
mod terminal;

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
};

use crate::find::Target;

pub use command::capture;

/// Runs `argv` in the container with this process's standard streams and returns its exit code (128 + signal when
/// killed). Where standard input is a terminal, the command gets one of its own.
pub fn exec(target: &Target, argv: &[String]) -> Result<i32, ExecError> {
    if rustix::termios::isatty(io::stdin()) && rustix::termios::isatty(io::stdout()) {
        return terminal::run(target, argv);
    }
    let mut child = command::spawn(target, argv, [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()], None)?;
    Ok(code(child.wait().map_err(ExecError::Wait)?))
}

/// Why a command could not be run in a container.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("no command to run")]
    Empty,
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("enter container {container}: {step}")]
    Enter {
        container: String,
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("exec {program:?} in container {container}")]
    Start {
        program: String,
        container: String,
        #[source]
        source: io::Error,
    },
    #[error("open a terminal")]
    Terminal(#[source] io::Error),
    #[error("wait for the command")]
    Wait(#[source] io::Error),
}

/// The exit code as a shell says it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// `/` when the container names no folder of its own.
pub(crate) fn working_dir(target: &Target) -> &Path {
    target.config.working_dir.as_deref().unwrap_or(Path::new("/"))
}
