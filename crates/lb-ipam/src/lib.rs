//! Addresses for Services of type LoadBalancer: who gets which, out of which pool.
//!
//! ```text
//! CiliumLoadBalancerIPPool ─▶ Pool ──┐
//!                                    ├─▶ plan ─▶ Grant per Service, report per pool ─▶ status of both
//! Service (and what it holds) ─▶ Request ┘
//! ```
//! What was given stands in the Services' own status and nowhere else: a new process that reads them plans the same.
//!
//! Invariant: pure. No I/O, no clock (times come in as values); who watches and writes is `controllers`.

#![forbid(unsafe_code)]

mod plan;
mod pool;
mod range;
mod request;
mod sharing;
mod status;

pub use plan::{Grant, Plan, PoolReport, Verdict, plan};
pub use pool::Pool;
pub use range::{Range, RangeError};
pub use request::{Request, is_marked, is_ours};
pub use status::{cleared, pool_status, service_status};

/// Condition of a Service: whether it has what it asked for.
pub const REQUEST_SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
