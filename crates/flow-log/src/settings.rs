//! How much is kept, for how long, and how much may wait.

use std::path::PathBuf;
use std::time::Duration;

/// What an operator chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder of the log, nobody else's. Made if its parent exists; its mode becomes 0700.
    pub folder: PathBuf,
    /// Bytes on disk, journals included. The oldest segments go first. At some 50 bytes a flow (`make bench-flows`) the default holds 20 million.
    pub most_bytes: u64,
    /// Age of the newest flow in a segment past which the segment goes.
    pub most_age: Duration,
    /// Flows after which a journal is closed and becomes a segment. More compress better and cost memory while
    /// they are converted, some 900 bytes each.
    pub segment_flows: u32,
    /// Time after which it is closed though it has fewer.
    pub segment_age: Duration,
    /// Bytes of encoded flows that may wait for the disk, some 900 each. What comes while they are used up is counted
    /// as lost.
    pub queue_bytes: usize,
    /// How long what was written may stay unsynced: what a power failure (not a crash of the agent) may take.
    pub sync_interval: Duration,
}

impl Settings {
    /// The defaults: 1 GB, seven days, segments of 65,536 flows or an hour, 16 MB that wait, a sync per second.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            most_bytes: MOST_MB << 20,
            most_age: Duration::from_secs(MOST_DAYS as u64 * 24 * 3600),
            segment_flows: 1 << 16,
            segment_age: Duration::from_secs(3600),
            queue_bytes: 16 << 20,
            sync_interval: Duration::from_secs(1),
        }
    }
}

/// Megabytes on disk (1,048,576 bytes) by default.
pub const MOST_MB: u64 = 1024;
/// Days that flows are kept by default.
pub const MOST_DAYS: u32 = 7;
