//! The node's settings: read-only data that the loader fills in, so that the verifier sees constants.

use datapath_layouts::NodeConfig;

#[unsafe(no_mangle)]
pub static CONFIG: NodeConfig = NodeConfig::ZERO;

/// One setting. Volatile, because the compiler would otherwise fold in the zeros that the loader replaces.
macro_rules! config {
    ($field:ident) => {{
        let field = &raw const $crate::config::CONFIG.$field;
        #[allow(unused_unsafe, reason = "some callers are inside of an unsafe block already")]
        // SAFETY: a pointer to a field of a static that lives forever and is never written after load.
        unsafe {
            core::ptr::read_volatile(field)
        }
    }};
}
pub(crate) use config;
