//! Services and EndpointSlices → the maps `frontends` and `backends`.

mod apply;
mod plan;
mod registry;

pub use apply::{Apply, apply};
pub use plan::{Purge, ServiceStatus, Services};
pub use registry::Names;
