//! Nouns: what the rest of Malla talks about. Newtypes and plain records, no I/O, no clock, no Kubernetes client.
//!
//! Invariant: nothing here knows where a value came from (API, map, wire) nor what is done with it.
#![forbid(unsafe_code)]

pub mod family;
pub mod host_port;
pub mod identity;
pub mod labels;
pub mod name;
pub mod node;
pub mod protocol;
pub mod service;
pub mod weight;
pub mod workload;

pub use family::Family;
pub use host_port::HostPort;
pub use identity::{EndpointId, Identity};
pub use labels::{Label, LabelError, Labels};
pub use name::{NodeName, ObjectName};
pub use node::Node;
pub use protocol::Protocol;
pub use service::{
    Affinity, Algorithm, BackendId, Endpoint, EndpointSlice, EndpointState, Forwarding, Hints, Service, ServiceId,
    ServicePort, SlicePort, TrafficPolicy,
};
pub use weight::Weights;
pub use workload::Workload;
