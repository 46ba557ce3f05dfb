//! Custom kinds: a CustomResourceDefinition adds them while the server runs.

mod definition;
mod structural;

pub use definition::{CLEANUP_FINALIZER, complete_definition, register, resource, unregister, validate_definition};
pub use structural::{shape, validate};
