//! Flows as lines of JSON in files, for collectors that read files: what Hubble's exporter writes, and as it rotates.
//!
//! ```text
//! event ──allowlist, denylist──▶ redaction ──▶ field mask ──▶ {"flow":{…},"node_name":"…","time":"…"} ──▶ file, rotated by size
//! ```
//! What is redacted is gone before anything is written. [`Lines`] is pure; only [`RotatingFile`] touches the disk.
//!
//! **In the agent** (`agent::keeping`) a thread that follows the ring has both. The names of [`Settings`] are those of Hubble's
//! `hubble-export-…` and `hubble-redact-…` options.
#![forbid(unsafe_code)]

mod file;
mod lines;
mod redact;
mod settings;

pub use file::{Error, RotatingFile};
pub use lines::Lines;
pub use redact::Redaction;
pub use settings::{MAX_BACKUPS, MAX_SIZE_MB, Settings};
