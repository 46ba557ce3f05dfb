//! Processes that cannot be mistaken for others: a pid is named together with its start time, and held by a pidfd.

use std::{fs, io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// A process as written into a file: pids come round again, start times do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/<pid>/stat` (proc(5)).
    pub start_time: u64,
}

impl ProcessId {
    /// Names the running process `pid`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time")))?;
        Ok(Self { pid, start_time })
    }

    /// Opens the process; `None` when it is gone (or its number is somebody else's now).
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // First open, then compare: from the open on, the number cannot change its owner unnoticed.
            Ok(fd) => Ok(Self::of(self.pid).is_ok_and(|now| now == self).then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends a signal; a process that is gone needs none.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        match self.open()? {
            Some(fd) => match pidfd_send_signal(&fd, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            None => Ok(()),
        }
    }

    /// Waits until the process has ended (not necessarily been reaped).
    pub async fn ended(self) -> io::Result<()> {
        if let Some(fd) = self.open()? {
            // SAFETY: `OwnedFd` keeps one descriptor open and unchanged until it is dropped, and the `AsyncFd` owns it.
            let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
            // A pidfd becomes readable when its process has ended (pidfd_open(2)).
            let _ready = fd.readable().await?;
        }
        Ok(())
    }
}

/// Field 22, counted behind the last `)`: the command name may contain anything.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_names_do_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("7 (a"), None);
    }

    #[tokio::test]
    async fn a_process_is_found_once_and_not_mistaken() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.open().unwrap().is_some());
        let other = ProcessId { start_time: id.start_time + 1, ..id };
        assert!(other.open().unwrap().is_none(), "the same number at another time is another process");
        id.signal(Signal::KILL).unwrap();
        id.ended().await.unwrap();
        child.wait().unwrap();
        assert!(id.open().unwrap().is_none());
        id.signal(Signal::KILL).unwrap();
    }
}
