//! The shim's life: start the container, carry its output into the log, record its end.

use std::{
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Timestamp;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    child::Child,
    log_file::{LogFile, Stream},
    records::{Exit, Running, ShimConfig, StartFailure, Told},
};
use crate::{
    files::{AttemptDir, read_json, write_atomically, write_json},
    process::ProcessId,
};

/// Runs the container described in `folder` to its end.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let folder = AttemptDir(folder.into());
    let lock = File::create(folder.lock()).context("create the shim's lock")?;
    take(&lock).context("another shim has this container")?;
    anyhow::ensure!(!folder.exit().exists(), "this container has already run");
    let config: ShimConfig =
        read_json(&folder.config()).context("read config.json")?.context("there is no config.json")?;
    let began = Timestamp::now();
    let exit = match start(&config) {
        Ok(started) => {
            let running = Running {
                shim: ProcessId::of(std::process::id()).context("read my own start time")?,
                container: ProcessId::of(started.child.id()).context("read the container's start time")?,
                started_at: began,
            };
            write_json(&folder.running(), &running).context("write running.json")?;
            tell(&Told::Started(running));
            watch(started, &config, &folder, began).context("watch the container")?
        }
        Err(message) => Exit {
            exit_code: START_ERROR,
            signal: None,
            started_at: began,
            finished_at: Timestamp::now(),
            failure: Some(StartFailure { message }),
        },
    };
    write_json(&folder.exit(), &exit).context("write exit.json")?;
    tell(&Told::Ended(exit));
    Ok(())
}

/// Locks; a runner that only looks whether somebody holds the lock has it for an instant.
fn take(lock: &File) -> io::Result<()> {
    for _ in 0..50 {
        if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    flock(lock, FlockOperation::NonBlockingLockExclusive).map_err(Into::into)
}

struct Started {
    child: std::process::Child,
    ready: Option<PipeReader>,
}

fn start(config: &ShimConfig) -> Result<Started, String> {
    let (program, arguments) = config.argv.split_first().ok_or("no command to run")?;
    let (mut failed_step, report_step) = io::pipe().map_err(|error| format!("make a pipe: {error}"))?;
    let (ready, report_ready) = if config.reports_ready {
        let (reader, writer) = io::pipe().map_err(|error| format!("make a pipe: {error}"))?;
        (Some(reader), Some(OwnedFd::from(writer)))
    } else {
        (None, None)
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&config.env);
    if let Some(ready) = &report_ready {
        use std::os::fd::AsRawFd;
        command.env("MALLA_READY_FD", ready.as_raw_fd().to_string());
    }
    command.current_dir(config.working_dir.as_deref().unwrap_or(Path::new("/")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Child::open(config, report_ready, report_step.into())?;
    new_pid_namespace_for_children().map_err(|error| format!("make a pid namespace: {error}"))?;
    // SAFETY: this process has one thread, so that the closure may do after fork whatever it could do before.
    unsafe { command.pre_exec(move || child.take_place()) };
    let spawned = command.spawn();
    // Closes this process's ends of the pipes, which the closure owns.
    drop(command);
    match spawned {
        Ok(child) => Ok(Started { child, ready }),
        Err(error) => {
            let mut step = String::new();
            let _ = failed_step.read_to_string(&mut step);
            let doing = if step.is_empty() { format!("exec {program:?}") } else { step };
            Err(format!("{doing}: {error}"))
        }
    }
}

fn new_pid_namespace_for_children() -> io::Result<()> {
    // SAFETY: CLONE_NEWPID changes only where later children live.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn watch(mut started: Started, config: &ShimConfig, folder: &AttemptDir, began: Timestamp) -> anyhow::Result<Exit> {
    let mut log = LogFile::open(&config.log, config.log_max_bytes).context("open the log")?;
    let pid = Pid::from_raw(i32::try_from(started.child.id())?).context("the container has no pid")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("open the container's pidfd")?;
    let mut pipes = [
        started.child.stdout.take().map(OwnedFd::from).map(File::from),
        started.child.stderr.take().map(OwnedFd::from).map(File::from),
        started.ready.take().map(OwnedFd::from).map(File::from),
    ];
    let mut ended: Option<(ExitStatus, Timestamp, Instant)> = None;
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let output_open = pipes[..2].iter().any(Option::is_some);
        if let Some((status, finished_at, at)) = ended
            && (!output_open || at.elapsed() > LAST_OUTPUT)
        {
            log.end(Stream::Stdout, Timestamp::now())?;
            log.end(Stream::Stderr, Timestamp::now())?;
            let signal = status.signal();
            let exit_code = status.code().unwrap_or(128 + signal.unwrap_or(0));
            return Ok(Exit { exit_code, signal, started_at: began, finished_at, failure: None });
        }
        let readable = wait(&pipes, ended.is_none().then_some(&pidfd))?;
        for (index, pipe) in pipes.iter_mut().enumerate() {
            let Some(file) = pipe.as_mut().filter(|_| readable[index]) else { continue };
            let length = match file.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            let stream = [Stream::Stdout, Stream::Stderr].get(index).copied();
            match (stream, length) {
                (_, 0) => *pipe = None,
                // A full disk must not stop the container: what cannot be logged is lost.
                (Some(stream), _) => drop(log.take(stream, &buffer[..length], Timestamp::now())),
                (None, _) => {
                    write_atomically(&folder.ready(), b"ready\n")?;
                    tell(&Told::Ready);
                    *pipe = None;
                }
            }
        }
        if ended.is_none() && readable[3] {
            // The end of process 1 ends every process of its pid namespace, and with them the pipes.
            let status = started.child.wait().context("wait for the container")?;
            ended = Some((status, Timestamp::now(), Instant::now()));
        }
    }
}

/// Waits until something can be read; says what.
fn wait(pipes: &[Option<File>; 3], pidfd: Option<&OwnedFd>) -> io::Result<[bool; 4]> {
    let mut fds = Vec::with_capacity(4);
    let mut which = Vec::with_capacity(4);
    for (index, pipe) in pipes.iter().enumerate() {
        if let Some(pipe) = pipe {
            fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            which.push(index);
        }
    }
    if let Some(pidfd) = pidfd {
        fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
        which.push(3);
    }
    let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    // While the container runs nothing needs a clock.
    match poll(&mut fds, pidfd.is_none().then_some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut readable = [false; 4];
    for (fd, index) in fds.iter().zip(which) {
        readable[index] = !fd.revents().is_empty();
    }
    Ok(readable)
}

/// Tells the runner, if there is one: after its crash nobody listens, and the files say the same.
fn tell(told: &Told) {
    if let Ok(mut line) = serde_json::to_vec(told) {
        line.push(b'\n');
        let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    }
}

/// How long output may still arrive after the end of the process, from a descriptor that escaped its namespace.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What container runtimes report for a container that could not be started.
const START_ERROR: i32 = 128;
