//! The kernel's monotonic time as wall time.

use rustix::time::{ClockId, clock_gettime};

/// Distance between the two clocks, taken anew for every batch, so that a corrected wall clock is followed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall minus monotonic, ns: enough until the year 2262.
    offset_ns: i64,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        Self { offset_ns: wall - nanoseconds(clock_gettime(ClockId::Monotonic)) }
    }

    /// Microseconds since 1970 of a monotonic time.
    #[must_use]
    pub fn wall_us(&self, monotonic_ns: u64) -> u64 {
        u64::try_from(monotonic_ns.cast_signed().saturating_add(self.offset_ns) / 1000).unwrap_or(0)
    }
}

/// The monotonic clock, ns: the clock of everything the datapath writes.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Monotonic))).unwrap_or(0)
}

fn nanoseconds(time: rustix::time::Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
