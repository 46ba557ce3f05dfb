//! One front end per dialect: the object as people write it → [`crate::rule::Policy`].

pub mod cilium;
pub mod cluster_network_policy;
pub(crate) mod labels;
pub mod network_policy;
pub mod references;
mod selectors;

pub use network_policy::AUDIT;

use crate::rule::{Gap, Policy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;

/// An object that can't be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistaken {
    /// Why.
    pub mistakes: Vec<Mistake>,
    /// What is enforced of it as long as no better version is known: it denies whatever it might have denied. Empty where
    /// it can't be read whom it selects.
    pub closed: Vec<Policy>,
}

impl Mistaken {
    /// What a dialect made of an object, with what is enforced of it where that is a mistake.
    ///
    /// # Errors
    /// The same mistakes.
    pub fn or_closed<T, C>(read: Result<T, Vec<Mistake>>, closed: impl FnOnce() -> C) -> Result<T, Self>
    where
        C: IntoIterator<Item = Policy>,
    {
        read.map_err(|mistakes| Self { mistakes, closed: closed().into_iter().collect() })
    }
}

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

/// What is found on the way through an object.
#[derive(Debug, Default)]
struct Findings {
    mistakes: Vec<Mistake>,
    gaps: Vec<Gap>,
}

impl Findings {
    fn mistake(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.mistakes.push(Mistake { field: field.into(), text: text.into() });
    }

    fn gap(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.gaps.push(Gap { field: field.into(), why: why.into() });
    }
}

/// An annotation that says one of two words; the second one where it is absent.
fn choice(metadata: &ObjectMeta, name: &str, words: [&str; 2], findings: &mut Findings) -> bool {
    let value = metadata.annotations.as_ref().and_then(|all| all.get(name));
    match value {
        None => false,
        Some(value) if value == words[0] => true,
        Some(value) if value == words[1] => false,
        Some(value) => {
            let text = format!("is {value:?}: write {:?} or {:?}", words[0], words[1]);
            findings.mistake(format!("metadata.annotations[{name:?}]"), text);
            false
        }
    }
}

fn is_audit(metadata: &ObjectMeta, findings: &mut Findings) -> bool {
    choice(metadata, AUDIT, ["true", "false"], findings)
}
