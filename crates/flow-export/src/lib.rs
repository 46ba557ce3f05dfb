//! Flows as lines of JSON in files, for collectors that read files: what Hubble's exporter writes, and as it rotates.
//!
//! ```text
//! event ──allowlist, denylist──▶ redaction ──▶ field mask ──▶ aggregation ──▶ {"flow":{…},"node_name":"…","time":"…"} ──▶ file, rotated by size
//! ```
//! What is redacted is gone before anything is written, or told from anything else. [`Outflow`] and [`line`] are pure; only
//! [`RotatingFile`] touches the disk.
//!
//! **In the agent** (`agent::keeping`) a thread that follows the ring has both. The names of [`Settings`], [`Selection`] and
//! [`Alike`] are those of Hubble's `hubble-export-…` and `hubble-redact-…` options.
#![forbid(unsafe_code)]

mod aggregation;
mod file;
mod lines;
mod outflow;
mod redact;
mod selection;
mod settings;

pub use aggregation::{Aggregation, Alike, sum};
pub use file::{Error, RotatingFile};
pub use lines::line;
pub use outflow::{GROUPS, Outflow};
pub use redact::Redaction;
pub use selection::Selection;
pub use settings::{MAX_BACKUPS, MAX_SIZE_MB, Settings};
