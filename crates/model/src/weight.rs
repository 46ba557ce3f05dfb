//! Weights of a Service's endpoints: how many new flows each gets beside the others.

use crate::Endpoint;
use ipnet::IpNet;
use std::fmt;

/// Who has which weight. The first rule that names an endpoint counts; one that none names has [`Weights::DEFAULT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(pub Vec<WeightRule>);

/// Endpoints, and their weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightRule {
    /// Which ones.
    pub who: Weighted,
    /// 0..=[`Weights::MAX`]; 0 = no new flows.
    pub weight: u8,
}

/// Endpoints by what their slice says of them. (Labels of Pods are not in it.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weighted {
    /// All of them.
    All,
    /// Those whose Pod has this name.
    Pod(Pattern),
    /// Those on this node.
    Node(Pattern),
    /// Those in this zone.
    Zone(Pattern),
    /// Those with an address in this prefix: the one thing that hand-written slices have.
    Address(IpNet),
}

/// A name, or with a star at its end the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// `None` where a star stands anywhere but at the end, or there is nothing.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let name = text.strip_suffix('*').unwrap_or(text);
        (!text.is_empty() && !name.contains('*')).then(|| Self(text.into()))
    }

    /// Whether it means this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *self.0 == *name,
        }
    }
}

impl Weights {
    /// What nobody names has.
    pub const DEFAULT: u8 = 1;
    /// The greatest: a table of 1,021 entries can't tell finer ones apart.
    pub const MAX: u8 = 100;

    /// The weight of an endpoint.
    #[must_use]
    pub fn of(&self, endpoint: &Endpoint) -> u8 {
        self.0.iter().find(|rule| rule.who.is(endpoint)).map_or(Self::DEFAULT, |rule| rule.weight)
    }

    /// Whether no endpoint is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Weighted {
    fn is(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::All => true,
            Self::Pod(name) => endpoint.pod.as_ref().is_some_and(|pod| name.matches(&pod.name)),
            Self::Node(name) => endpoint.node.as_ref().is_some_and(|node| name.matches(&node.0)),
            Self::Zone(name) => endpoint.zone.as_ref().is_some_and(|zone| name.matches(zone)),
            Self::Address(prefix) => prefix.contains(&endpoint.address),
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, WeightRule { who, weight }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match who {
                Weighted::All => write!(f, "*={weight}")?,
                Weighted::Pod(Pattern(name)) => write!(f, "pod/{name}={weight}")?,
                Weighted::Node(Pattern(name)) => write!(f, "node/{name}={weight}")?,
                Weighted::Zone(Pattern(name)) => write!(f, "zone/{name}={weight}")?,
                Weighted::Address(prefix) => write!(f, "address/{prefix}={weight}")?,
            }
        }
        Ok(())
    }
}
