//! Flows as they leave a node: as lines of JSON in files, what Hubble's exporter writes and as it rotates, and as log records to a
//! receiver of OTLP.
//!
//! ```text
//! event ──allowlist, denylist──▶ redaction ──▶ field mask ──▶ aggregation ──▶ {"flow":{…},"node_name":"…","time":"…"} ──▶ file, rotated by size
//!                                                                       └▶ log record with the same line ──▶ receiver of OTLP
//! ```
//! What is redacted is gone before anything is written, or told from anything else. [`Outflow`] and [`line`] are pure; only
//! [`RotatingFile`] touches the disk, and only [`otlp`] the network.
//!
//! **In the agent** (`agent::keeping`) a thread that follows the ring has both. The names of [`Settings`], [`Selection`] and
//! [`Alike`] are those of Hubble's `hubble-export-…` and `hubble-redact-…` options.
#![forbid(unsafe_code)]

mod aggregation;
mod file;
mod lines;
pub mod otlp;
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
