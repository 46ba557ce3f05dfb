//! Names of labs, and of everything that carries a lab's name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of a lab: a DNS label short enough for every socket path and namespace made from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// Why a name cannot be a lab's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lab name {given:?} is invalid: use 1 to {LONGEST} of a-z, 0-9 and '-', with a letter or digit at both ends, for example --name demo"
)]
pub struct InvalidName {
    given: String,
}

impl LabName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The network namespace of a node, or of [`FABRIC`] or [`OUTSIDE`].
    ///
    /// No two labs can share one: what follows the lab's name never begins with another lab's remainder, because the
    /// last parts (`control-plane`, `worker-N`, `fabric`, `outside`) are no suffixes of each other.
    #[must_use]
    pub fn namespace(&self, member: &str) -> String {
        format!("{}-{member}", self.0)
    }

    /// The part of a namespace's name that follows this lab's name, if the namespace is one of this lab's.
    #[must_use]
    pub fn member_of<'a>(&self, namespace: &'a str) -> Option<&'a str> {
        let member = namespace.strip_prefix(&self.0)?.strip_prefix('-')?;
        let is_member = matches!(member, CONTROL_PLANE | FABRIC | OUTSIDE)
            || member
                .strip_prefix("worker-")
                .is_some_and(|number| !number.starts_with('0') && number.parse::<u16>().is_ok());
        is_member.then_some(member)
    }
}

impl FromStr for LabName {
    type Err = InvalidName;

    fn from_str(given: &str) -> Result<Self, InvalidName> {
        let letter_or_digit = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = given.as_bytes();
        let fits = (1..=LONGEST).contains(&bytes.len())
            && bytes.iter().all(|b| letter_or_digit(Some(b)) || *b == b'-')
            && letter_or_digit(bytes.first())
            && letter_or_digit(bytes.last());
        if fits { Ok(Self(given.to_owned())) } else { Err(InvalidName { given: given.to_owned() }) }
    }
}

impl TryFrom<String> for LabName {
    type Error = InvalidName;

    fn try_from(given: String) -> Result<Self, InvalidName> {
        given.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The one node that runs the Kubernetes API.
pub const CONTROL_PLANE: &str = "control-plane";
/// The namespace with the bridge between the nodes.
pub const FABRIC: &str = "fabric";
/// The host that stands for the Internet or the data centre.
pub const OUTSIDE: &str = "outside";
/// What a lab is called when nobody says otherwise.
pub const DEFAULT_NAME: &str = "malla";
/// Unix socket paths end at 107 bytes (`sockaddr_un`, unix(7)); `/run/malla/<lab>/nodes/control-plane/agent.sock` must fit.
const LONGEST: usize = 30;

/// The name of the `number`th worker, counted from 1.
#[must_use]
pub fn worker(number: usize) -> String {
    format!("worker-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["malla", "a", "0", "a-b", "x1-2y", &"a".repeat(30)] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", "a b", "ñ", &"a".repeat(31)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lab_knows_its_own_namespaces_and_no_others() {
        let lab: LabName = "malla".parse().unwrap();
        for own in ["malla-control-plane", "malla-worker-1", "malla-worker-17", "malla-fabric", "malla-outside"] {
            assert!(lab.member_of(own).is_some(), "{own}");
        }
        for other in [
            "malla",
            "malla-x-worker-1",
            "mallax-fabric",
            "malla-worker-",
            "malla-worker-01",
            "malla-worker-1-fabric",
            "fabric",
        ] {
            assert!(lab.member_of(other).is_none(), "{other}");
        }
    }
}
