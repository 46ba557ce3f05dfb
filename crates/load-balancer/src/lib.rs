//! Services and EndpointSlices → frontends and backend slots → the changes that make the kernel's maps so.
//!
//! ```text
//! Service + slices ──desired──▶ Desired per (port, family) ──Balancer──▶ ordered changes ──▶ (agent) maps
//!                                                   ▲ what the maps hold
//! ```
//! Everything is pure: no map, no API, no clock. [`Balancer`] is the one writer of the numbers of services and backends;
//! after a restart it reads them back from the maps ([`Balancer::recover`]), so nothing is renumbered.
//!
//! Invariants, each kept by a property test: after every single change of a plan each frontend's slots `0..backends`
//! exist; the last change leaves exactly what is desired; an unchanged Service plans nothing; a change of one endpoint
//! plans a number of changes that does not grow with the number of Services or endpoints.
#![forbid(unsafe_code)]

mod balancer;
mod change;
mod claims;
mod desired;
pub mod from_kubernetes;
mod numbers;
mod slots;
mod tables;

pub use balancer::{Balancer, Capacity, CapacityExceeded, Plan};
pub use change::{Change, Gone};
pub use claims::Conflict;
pub use desired::{Desired, Locality, PortKey, Target, WantedFrontend, desired};
pub use tables::Tables;
