//! The one form that every dialect becomes.
//!
//! How a packet is judged at one end, by the policies whose subject that end is (all of them add up):
//! 1. [`Tier::Failsafe`]: what keeps a node reachable.
//! 2. [`Tier::Admin`]: of the rules that match, the one with the lowest priority, then the lowest order; among equals
//!    deny before pass before allow. Allow and deny decide; pass leaves it to what follows.
//! 3. [`Tier::Normal`]: deny before allow. From the own node into a Pod an allow is always there.
//! 4. If any of the policies has default deny for the direction: deny.
//! 5. [`Tier::Baseline`]: as Admin; a pass lets through.
//! 6. Allow.
//!
//! A peer whose identity is not known may or may not be meant by labels, by an entity, by a prefix for what is outside.
//! Where it may be, an allow does not match it; a deny does, and a pass matches as a deny, also if the same rule matches it
//! for certain in another way. What is meant without knowing ([`Peers::Any`], [`Entity::All`], prefixes for everyone,
//! nodes) matches as always.

use crate::selector::Selector;
pub use datapath_layouts::policy::Direction;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The language of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `networking.k8s.io`.
    Kubernetes,
    /// `policy.networking.k8s.io`.
    KubernetesCluster,
    /// `cilium.io`.
    Cilium,
    /// Malla's own, of no object: failsafe ports.
    Malla,
}

/// Where a policy comes from. Names it: two policies never have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The dialect.
    pub dialect: Dialect,
    /// `NetworkPolicy`, `CiliumNetworkPolicy`, ….
    pub kind: Box<str>,
    /// Its namespace; empty for what has none.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Which of several in one object (`specs[part]`).
    pub part: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Whom a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Pods (never nodes, nor what is outside).
    Endpoints(Selector),
    /// Nodes themselves, by the labels that the identity of the own node has.
    Nodes(Selector),
}

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerDirection<T> {
    /// Into the subject.
    pub ingress: T,
    /// Out of it.
    pub egress: T,
}

impl<T: Copy> PerDirection<T> {
    /// That of a direction.
    #[must_use]
    pub const fn of(&self, direction: Direction) -> T {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// A policy: what one object (or one of its specs) says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Where it comes from.
    pub origin: Origin,
    /// Whom it is about.
    pub subject: Subject,
    /// Whether what nothing allows is denied at its subjects.
    pub default_deny: PerDirection<bool>,
    /// What it allows and denies.
    pub rules: Vec<Rule>,
    /// Judged and reported, not enforced (`malla.dev/audit`).
    pub audit: bool,
    /// What its verdicts are to be reported with (Cilium's `log.value`).
    pub log: Option<Box<str>>,
    /// What it asks and does not get. The rules above already fail closed: an allow that is not supported whole is not
    /// among them, a deny denies its whole peer.
    pub gaps: Vec<Gap>,
}

/// A field that is understood and not enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its path in the object.
    pub field: String,
    /// Why, and what happens instead.
    pub why: String,
}

/// Priority of a policy in a tier: the lower one wins. 0 to 1000 (`policy.networking.k8s.io/v1alpha2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Priority(u16);

impl Priority {
    /// The lowest and last one.
    pub const LAST: u16 = 1000;

    /// None above [`Self::LAST`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::LAST { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Priority {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a priority is at most 1000")
    }
}

impl From<Priority> for u16 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// When a rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Before all others. Only allows; not written by people.
    Failsafe,
    /// Before the usual ones.
    Admin(Priority),
    /// The usual one, without order.
    Normal,
    /// Where nothing else governs.
    Baseline(Priority),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Lets through.
    Allow,
    /// Drops.
    Deny,
    /// Leaves it to the tiers below. Not in [`Tier::Normal`].
    Pass,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Whose packets: those into the subject or those out of it.
    #[serde(with = "crate::wire::direction")]
    pub direction: Direction,
    /// When it is asked.
    pub tier: Tier,
    /// Place among its policy's rules of one direction; counts in the tiers that have an order.
    pub order: u16,
    /// What it does.
    pub action: Action,
    /// The other end.
    pub peers: Peers,
    /// What is spoken, as the destination hears it (after service translation).
    pub ports: Ports,
    /// Path in the object, `spec.ingress[0]`.
    pub field: Box<str>,
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// Whoever it is.
    Any,
    /// One of these; of none: nobody.
    OneOf(Vec<Peer>),
}

/// One way to name the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Whoever has the labels. Scoping (the namespace of the policy, "is a Pod") is part of the selector.
    Endpoints(Selector),
    /// Pods of the own cluster and of others that do *not* have the labels. `from/toRequires` of Cilium is a deny of it:
    /// so it holds for every rule of the subject and allows nothing by itself.
    OtherEndpoints(Selector),
    /// By what it is.
    Entity(Entity),
    /// By its address.
    Cidr {
        /// In here,
        net: IpNet,
        /// and in none of these.
        except: Vec<IpNet>,
        /// Whom it can be.
        scope: Scope,
    },
    /// A node's own address, of nodes whose labels are selected. Host-network Pods are the node.
    Nodes(Selector),
}

/// Whom a prefix can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Only what is outside of the cluster ([`crate::subject::Kind::is_outside`]).
    Outside,
    /// Pods and nodes too.
    Everyone,
}

/// What somebody is (Cilium's entities), by kind and `reserved:` labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entity {
    /// Whoever it is.
    All,
    /// `reserved:world`.
    World,
    /// `reserved:world-ipv4`.
    WorldIpv4,
    /// `reserved:world-ipv6`.
    WorldIpv6,
    /// Pods of the own cluster, and `host`, `remote-node`, `init`, `ingress`, `health`, `unmanaged`, `kube-apiserver`.
    Cluster,
    /// `reserved:host`: the own node.
    Host,
    /// `reserved:init`.
    Init,
    /// `reserved:ingress`.
    Ingress,
    /// `reserved:unmanaged`.
    Unmanaged,
    /// `reserved:remote-node`.
    RemoteNode,
    /// `reserved:health`.
    Health,
    /// Nobody.
    None,
    /// `reserved:kube-apiserver`.
    KubeApiserver,
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// Whatever it is, protocols without ports too.
    Any,
    /// One of these; of none: nothing.
    OneOf(Vec<PortMatch>),
}

/// Protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// All three of them (Cilium's `ANY`), and nothing else.
    Any,
}

impl Transport {
    /// IP protocol numbers.
    #[must_use]
    pub const fn numbers(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[6],
            Self::Udp => &[17],
            Self::Sctp => &[132],
            Self::Any => &[6, 17, 132],
        }
    }
}

/// Ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortSet {
    /// All of them.
    All,
    /// First and last one; the same for a single one.
    Range(u16, u16),
    /// The one that has this name and protocol at the destination: the subject (ingress), the peer's identity (egress). Where
    /// the peer is named by its address, or is not known, nobody has names: an allow matches nothing, a deny every port, and a
    /// pass too, as a deny.
    Named(Box<str>),
}

/// One way to say what is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMatch {
    /// A protocol with ports.
    Port(Transport, PortSet),
    /// An IP protocol by its number, whole.
    Protocol(u8),
    /// An ICMP message. The answer belongs to the flow and needs no rule.
    Icmp {
        /// ICMPv6.
        v6: bool,
        /// Its type.
        kind: u8,
    },
}
