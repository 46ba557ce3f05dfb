//! Processes, known so that no other is ever taken for them: by number *and* start time.
//!
//! A process number is given again after its process ended. The time a process started, in clock ticks since boot
//! (`/proc/<pid>/stat`, field 22, proc_pid_stat(5)), is not; with the boot's own id the pair names one process forever.
//! Signals and waiting go through a pidfd that was opened before the pair was compared, so that nothing can slip between.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

use crate::files::{read_json, write_json};

/// Names one process of this boot, or of none that is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A running process, held so that its number cannot be given to another.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    pidfd: OwnedFd,
}

impl ProcessId {
    /// The calling process.
    pub fn current() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// The process that has number `pid` now.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: stat(pid)?.start_time, boot_id: boot_id()? })
    }

    /// The process, unless it has ended (a zombie has ended).
    #[must_use]
    pub fn open(&self) -> Option<Process> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        let now = stat(self.pid).ok()?;
        let same = now.start_time == self.start_time && !now.ended && boot_id().ok()? == self.boot_id;
        same.then(|| Process { id: self.clone(), pidfd })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.open().is_some()
    }

    /// Reads what [`ProcessId::record`] wrote; `None` when there is no (readable) record.
    #[must_use]
    pub fn recorded(file: &Path) -> Option<Self> {
        read_json(file).ok()
    }

    /// Writes it to `file`, whole or not at all.
    pub fn record(&self, file: &Path) -> io::Result<()> {
        write_json(file, self)
    }
}

impl Process {
    /// Which process this is.
    #[must_use]
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// Sends a signal; a process that has ended meanwhile is fine.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended, at most `limit`. Returns whether it has.
    pub fn wait_for_end(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends it: `first`, and SIGKILL after `grace`. Returns once it has ended.
    pub fn end(&self, first: Signal, grace: Duration) -> io::Result<()> {
        self.signal(first)?;
        if self.wait_for_end(grace)? {
            return Ok(());
        }
        self.signal(Signal::KILL)?;
        if self.wait_for_end(AFTER_KILL)? {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {} survives SIGKILL", self.id.pid)))
        }
    }

    /// Resolves once it has ended. Call it inside a tokio runtime.
    pub async fn ended(&self) -> io::Result<()> {
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps exactly the promise that asks for")]
        let pidfd = AsyncFd::with_interest(self.pidfd.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        let _ready = pidfd.readable().await?;
        Ok(())
    }
}

struct Stat {
    start_time: u64,
    ended: bool,
}

fn stat(pid: i32) -> io::Result<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has another form")))
}

/// The command's name stands in parentheses and may hold anything, also `) R 1`: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(") ")?;
    let mut fields = after_name.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    // `state` was field 3; start time is field 22.
    let start_time = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { start_time, ended })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A killed process is gone in milliseconds, unless the kernel is stuck in it.
const AFTER_KILL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_found_until_it_ends() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(child.id() as i32).unwrap();
        let process = id.open().expect("it runs");
        assert!(!process.wait_for_end(Duration::ZERO).unwrap());
        process.end(Signal::TERM, Duration::from_secs(5)).unwrap();
        assert!(!id.is_running(), "a zombie does not run");
        child.wait().unwrap();
        assert!(!id.is_running());
    }

    #[test]
    fn another_process_with_the_same_number_is_another() {
        let mut id = ProcessId::current().unwrap();
        assert!(id.is_running());
        id.start_time += 1;
        assert!(!id.is_running());
        id.start_time -= 1;
        id.boot_id.push('x');
        assert!(!id.is_running());
    }

    #[test]
    fn a_hostile_process_name_does_not_shift_the_fields() {
        let rest = (4..=22).map(|field| (field * 10).to_string()).collect::<Vec<_>>().join(" ");
        let stat = parse_stat(&format!("7 (a) R 1 (b) Z {rest} 9")).unwrap();
        assert_eq!(stat.start_time, 220);
        assert!(stat.ended);
        assert!(parse_stat("7 (a").is_none());
        assert!(parse_stat("7 (a) R 1").is_none());
    }

    #[tokio::test]
    async fn the_end_is_awaited() {
        let mut child = Command::new("sleep").arg("0.1").spawn().unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap().open().unwrap();
        tokio::time::timeout(Duration::from_secs(10), process.ended()).await.unwrap().unwrap();
        child.wait().unwrap();
    }
}
