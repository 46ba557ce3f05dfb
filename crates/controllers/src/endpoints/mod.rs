//! The older Endpoints objects (`v1`), for `kubectl get endpoints` and for programs that still read them.

pub mod plan;
pub(crate) mod run;
