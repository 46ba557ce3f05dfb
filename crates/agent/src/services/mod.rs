//! Services and EndpointSlices → the maps of Services.

mod apply;
mod plan;
mod registry;

pub use apply::{Maps, apply};
pub use plan::{Purge, ServiceStatus, Services};
pub use registry::Names;
