//! One front end per dialect: the object as people write it → [`crate::rule::Policy`].

pub(crate) mod labels;
pub mod network_policy;

use std::fmt;

/// Something in an object that has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// Path of the field, `spec.ingress[0].ports[1].endPort`.
    pub field: String,
    /// What is wrong with it and what to do, for people.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}
