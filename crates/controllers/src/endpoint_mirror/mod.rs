//! Slices for Services without a selector, whose Endpoints people write by hand: whoever follows slices sees those too.

pub mod plan;
pub(crate) mod run;
