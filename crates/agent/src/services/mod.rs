//! Services and EndpointSlices → the maps of Services.

mod apply;
mod health;
mod plan;
mod registry;
mod view;

pub use apply::{Maps, apply};
pub use health::{Health, HealthChecks};
pub use plan::{Purge, ServiceStatus, Services};
pub use registry::{Caller, Names};
pub use view::{EndpointView, PortView, View};
