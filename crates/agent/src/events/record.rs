//! An event as people and scripts see it: one JSON object per line. Names and numbers follow Hubble's `flow.Flow`.

use model::{NodeName, ObjectName};
use policy::told::Named;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// One line of a monitor stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Something happened.
    Flow(Box<Record>),
    /// Something happened and can't be told.
    Lost(Loss),
}

/// Events that a listener did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The node.
    pub node: NodeName,
    /// How many.
    pub events: u64,
    /// Where: `ring` (the kernel's buffer was full) or `listener` (it read too slowly).
    pub place: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When: microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// On which node.
    pub node: NodeName,
    /// What.
    pub kind: Kind,
    /// Hubble's verdict.
    pub verdict: Verdict,
    /// Why it was dropped: Hubble's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<String>,
    /// Why it was dropped: Hubble's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason_number: Option<u8>,
    /// Where: Hubble's observation point, as `hubble observe` prints it.
    pub point: String,
    /// Into a Pod rather than out of one.
    pub ingress: bool,
    /// From responder to initiator.
    pub reply: bool,
    /// An ICMP error about a flow.
    pub related: bool,
    /// A later fragment.
    pub fragment: bool,
    /// Who sent.
    pub source: Party,
    /// Who gets it.
    pub destination: Party,
    /// The Service that the initiator addressed, before translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Other end of the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<IpAddr>,
    /// `TCP`, `UDP`, `ICMPv4`, `ICMPv6`, or the number.
    pub protocol: String,
    /// TCP flags, as Hubble prints them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tcp_flags: Vec<String>,
    /// ICMP type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Bytes of the packet, from its IP header on.
    pub length: u32,
    /// Device on which it was seen.
    pub interface: Interface,
    /// Rule that decided; 0 = none.
    pub rule: u32,
    /// The same rule by its name, where this node knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_by: Option<Named>,
    /// No rule allowed it, and these policies have default deny.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub default_deny: Vec<Named>,
    /// The rule that let the flow out of its initiator, where it begins or ends; 0 = none, or that end is not here.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub egress_rule: u32,
    /// The same by its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub egress_allowed_by: Option<Named>,
    /// And the one that let it into its responder.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub ingress_rule: u32,
    /// The same by its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ingress_allowed_by: Option<Named>,
    /// CPU.
    pub cpu: u16,
    /// Who follows the packet: one bit each, as in [`datapath_layouts::Event::followed`].
    #[serde(skip_serializing_if = "is_zero", default)]
    pub followed: u16,
    /// How the flow ended, with this packet or without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Way>,
    /// How the flow was, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
}

impl Record {
    /// Which rule denied it, or whose default deny it was; `None` where no policy did.
    #[must_use]
    pub fn blame(&self) -> Option<String> {
        match (&self.decided_by, &*self.default_deny, self.rule) {
            (Some(rule), ..) => Some(rule.to_string()),
            (None, [], 0) => None,
            (None, [], number) => Some(format!("rule {number}, which is not there any more")),
            (None, policies, _) => {
                let policies: Vec<String> = policies.iter().map(ToString::to_string).collect();
                Some(format!("default deny of {}", policies.join(", ")))
            }
        }
    }
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A packet was dropped.
    Drop,
    /// A flow began.
    Flow,
    /// A packet passed, while somebody traces.
    Trace,
    /// A flow ended.
    End,
    /// A flow passed that a policy in audit mode (`malla.dev/audit`) would have dropped.
    Audit,
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Both ends have closed.
    Closed,
    /// The responder answered the SYN by a reset.
    RefusedByServer,
    /// The Service has no backend.
    NoBackends,
    /// The Service has no such port.
    NoSuchPort,
    /// Policy at the initiator's end.
    DeniedAtSource,
    /// Policy at the responder's end.
    DeniedAtDestination,
    /// The initiator has reset it.
    ResetBySource,
    /// The responder has, after it had answered.
    ResetByDestination,
    /// Nobody answered, or nobody spoke for as long as a connection is remembered.
    TimedOut,
    /// A Pod at one end is no more.
    PeerGone,
    /// Silence after an exchange in a protocol without an end of its own.
    Idle,
}

/// Hubble's verdicts that this datapath gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It went on.
    Forwarded,
    /// It did not.
    Dropped,
    /// It was seen.
    Traced,
    /// It went on, and would not have but for audit mode.
    Audit,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its address.
    pub address: IpAddr,
    /// Its port (ICMP: id).
    pub port: u16,
    /// Its security identity.
    pub identity: u32,
    /// Name of a reserved identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// The Pod, where this node knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// The node, where the address is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The Service, where the address and port are one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ObjectName>,
}

impl Party {
    /// Address and port.
    #[must_use]
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// A Service's address that was translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Name, where this node knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ObjectName>,
}

/// ICMP type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub index: u32,
}

/// A whole flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// By reset.
    pub reset: bool,
    /// From its first packet on, ns.
    pub duration_ns: u64,
    /// SYN to the ACK that ended the handshake, ns; 0 = not seen.
    pub handshake_ns: u64,
    /// Packets of the initiator.
    pub forward_packets: u64,
    /// Bytes of the initiator.
    pub forward_bytes: u64,
    /// Packets of the responder.
    pub reply_packets: u64,
    /// Bytes of the responder.
    pub reply_bytes: u64,
    /// What the initiator's socket knew, where it is on this node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub initiator: Option<TcpEnd>,
    /// And the responder's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub responder: Option<TcpEnd>,
}

/// One end of a TCP connection, when it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpEnd {
    /// Smoothed round-trip time, microseconds; 0 = nothing that it sent was ever acknowledged.
    pub srtt_us: u32,
    /// Segments that it sent again.
    pub retransmits: u32,
}
