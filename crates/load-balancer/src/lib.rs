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
//! exist in both of its rows, with the Maglev table, the affinity members and the source ranges that it asks for; the last change leaves exactly what is desired; an unchanged Service plans nothing; a change of one endpoint
//! plans a number of changes that does not grow with the number of Services or endpoints.
#![forbid(unsafe_code)]

mod backend_numbers;
mod balancer;
mod change;
mod claims;
pub mod condition;
mod desired;
pub mod from_kubernetes;
pub mod host_ports;
pub mod maglev;
mod numbers;
mod port;
mod room;
mod slots;
mod standing;
mod tables;
pub mod weights;

pub use balancer::{Balancer, Plan};
pub use change::{Change, Gone};
pub use claims::Conflict;
pub use desired::{Desired, PortKey, RowKind, Target, Wanted, WantedFrontend, WantedRow, desired};
pub use room::{Capacity, CapacityExceeded};
pub use standing::{Locality, Member, Standing, members};
pub use tables::{Contents, Tables};
