//! Flows as OTLP log records, over gRPC or HTTP: for OpenTelemetry's collector, and whatever else speaks it.
//!
//! ```text
//! event ──▶ record ──▶ request ──▶ Delivery ──▶ Client ──▶ gRPC │ HTTP ──▶ receiver
//!                                     ▲                              │
//!                                     └──── pause ◀──── Failure ◀────┘
//! ```
//! [`record`], [`request`], [`size`] and [`pause`] are pure; only [`Client`] touches the network.

mod client;
mod delivery;
mod failure;
mod grpc;
mod headers;
mod http;
pub mod messages;
mod receiver;
mod records;

pub use client::Client;
pub use delivery::Delivery;
pub use failure::{Again, Failure, pause};
pub use headers::Headers;
pub use receiver::{Identity, Protocol, Receiver, address, is_tls};
pub use records::{Sender, record, request, size};
