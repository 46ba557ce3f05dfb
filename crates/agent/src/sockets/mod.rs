//! Sockets of Pods: whose the socket hooks leave alone, and ending those that are bound to a backend that is gone.

mod end;
mod registry;
mod wish;

pub use end::KernelSockets;
pub use registry::PodSockets;
pub use wish::{ANNOTATION, Wish, of_namespace, of_pod};
