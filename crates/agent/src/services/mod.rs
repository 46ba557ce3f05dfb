//! Services and EndpointSlices → the maps of Services.

mod apply;
mod health;
mod news;
mod plan;
mod view;

pub use apply::{Maps, apply};
pub use health::{Health, HealthChecks};
pub use news::News;
pub use plan::{Purge, ServiceStatus, Services};
pub use view::{EndpointView, PortView, View};
