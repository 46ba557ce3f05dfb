//! The memory of flows: who spoke to whom, kept on disk for days, through restarts and crashes.
//!
//! ```text
//! agent ──append──▶ queue ──record, checksum, sync──▶ journal ──when full or old──▶ segment (Parquet) ──▶ too old: gone
//!          full: counted, told as LostEvent               └───────────── query ───────────┘
//! ```
//! **Why Parquet.** Flows are many rows of few different values, and questions ask for few of the columns: that is what column formats
//! are for. Endpoints with all their labels are written once per segment (dictionaries), a segment without an
//! address, identity, Pod or workload is skipped by its bloom filters, and of the others only the columns asked about are
//! read until it is known which rows fit. It is a format that DuckDB, pandas and Spark read, so the log is of use
//! without Malla. The crate comes without Arrow and with one codec (zstd). A key-value engine
//! such as redb, which Malla has already, would need an index entry for each of eight keys of each flow, and would compress
//! nothing; SQLite the same, in C.
//!
//! Parquet can't be appended to, and it ends with what makes it readable: so the newest flows are in a **journal** of records with checksums,
//! which a crash can only shorten. What stands in it is found there until it is a segment. Parquet's writer makes no page
//! checksums; the name of a segment has that of the whole file, which is compared before the first answer from it.
//!
//! **Use:** one [`Writer`] per folder, which never waits for the disk; any number of [`Reader`]s, on threads that may, whose [`Answer`]s tell an
//! `Err` as the name of a part that is missing. [`Status`] and [`Summary`] say how it goes. In the agent: `agent::keeping`.
#![forbid(unsafe_code)]

mod catalog;
mod columns;
mod convert;
mod dictionary;
mod error;
mod frames;
mod journal;
mod log;
mod moment;
mod plan;
mod query;
mod queue;
mod reader;
mod row;
mod scan;
mod segment;
mod select;
mod settings;
mod store;

pub use catalog::Kept;
pub use error::{Damage, Error};
pub use frames::{Frames, Span};
pub use log::{Status, Watcher, Writer};
pub use query::{Lists, Order, Pod, Query};
pub use reader::{Answer, Reader, Summary};
pub use settings::{MOST_DAYS, MOST_MB, Settings};
pub use store::{Recovery, Store};
