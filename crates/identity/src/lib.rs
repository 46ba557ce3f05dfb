//! Identities: which labels of a Pod make one, which number stands for them, and how nodes hear of it.
//!
//! ```text
//! Pod, Namespace ─▶ labels_of ─▶ Labels ─▶ Plan: CiliumIdentity objects to make and to delete
//!                                   └────▶ Slices: CiliumEndpointSlice objects to write ─▶ published ─▶ agents
//! ```
//! A slice says what its Pods belong to as well: flows are told with it on every node.
//!
//! Two Pods have one identity exactly when their security labels and named ports are the same. A number is the name of an
//! object, so the API itself sees to it that none is given twice.
//!
//! Invariant: pure. No I/O, no clock (times come in as values); who watches and writes is `controllers`, who uses what is
//! published is `agent`.
#![forbid(unsafe_code)]

mod filter;
mod of_pod;
mod plan;
mod slices;
mod workload;

pub use filter::{Filter, FilterError};
pub use of_pod::{Facts, MALLA, has_identity, labels_of, named_ports};
pub use plan::{GRACE, Input, Known, Memory, Plan, known};
pub use slices::{Change, ENDPOINTS_PER_SLICE, Member, Published, SlicePlan, published, slices};
pub use workload::workload_of;

/// Numbers that can stand for labels: 16 bits travel in the VNI, and the first 256 are reserved (Cilium's numbering).
pub const NUMBERS: std::ops::RangeInclusive<u32> =
    datapath_layouts::identity::FIRST_ALLOCATED..=datapath_layouts::identity::LAST_ON_WIRE;
