//! Flows as OTLP log records, over gRPC: for OpenTelemetry's collector, and whatever else speaks it.
//!
//! [`record`], [`request`], [`size`] and [`pause`] are pure; only [`Client`] touches the network.

mod client;
mod delivery;
pub mod messages;
mod records;
mod retry;

pub use client::{Client, address, is_tls};
pub use delivery::Delivery;
pub use records::{Sender, record, request, size};
pub use retry::pause;
