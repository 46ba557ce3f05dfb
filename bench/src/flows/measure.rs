//! What work costs this process.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// With the CPU time of this thread.
pub fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).context("read the thread's clock");
    let start = now()?;
    let done = work();
    Ok((done, now()? - start))
}

/// Bytes, as the kernel tells them of this process.
pub fn memory(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kilobytes: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(kilobytes * 1024)
}
