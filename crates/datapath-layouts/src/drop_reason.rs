//! Why a packet was dropped: Hubble's numbers and names (`flow.DropReason`).

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$meta])* $name = $number,)* }

        impl DropReason {
            /// Every reason this datapath can give.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The reason with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Hubble's name (`DropReason` of flow.proto).
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// A Pod sent from a MAC address that is not its own.
    InvalidSourceMac = 130, "INVALID_SOURCE_MAC";
    /// A Pod sent from an address that is not its own, or a tunnel carried a source that its node can't have.
    InvalidSourceIp = 132, "INVALID_SOURCE_IP";
    /// Default deny.
    PolicyDenied = 133, "POLICY_DENIED";
    /// A header contradicts itself.
    InvalidPacket = 134, "INVALID_PACKET_DROPPED";
    /// The packet ends before its headers do.
    Truncated = 135, "CT_TRUNCATED_OR_INVALID_HEADER";
    /// A protocol that connection tracking can't follow and policy can't name.
    UnknownL4Protocol = 142, "UNKNOWN_L4_PROTOCOL";
    /// Neither IPv4 nor IPv6 nor a neighbour message.
    UnsupportedL3Protocol = 139, "UNSUPPORTED_L3_PROTOCOL";
    /// A helper failed to write into the packet.
    WriteError = 141, "ERROR_WRITING_TO_PACKET";
    /// A frame from the overlay without tunnel metadata.
    NoTunnelKey = 147, "ERROR_RETRIEVING_TUNNEL_KEY";
    /// No route is known to the destination.
    UnknownTarget = 150, "UNKNOWN_L3_TARGET_ADDRESS";
    /// The destination is no longer there, or can't be routed (multicast, own range without a Pod).
    StaleOrUnroutable = 151, "STALE_OR_UNROUTABLE_IP";
    /// The node has no Pod with this address.
    NoLocalEndpoint = 152, "NO_MATCHING_LOCAL_CONTAINER_FOUND";
    /// The IP header checksum could not be corrected.
    L3Checksum = 153, "ERROR_WHILE_CORRECTING_L3_CHECKSUM";
    /// The transport checksum could not be corrected.
    L4Checksum = 154, "ERROR_WHILE_CORRECTING_L4_CHECKSUM";
    /// The connection table refused an entry.
    ConntrackInsert = 155, "CT_MAP_INSERTION_FAILED";
    /// An IPv6 extension header that is malformed or forbidden (type 0 routing, more than eight).
    InvalidExtensionHeader = 156, "INVALID_IPV6_EXTENSION_HEADER";
    /// The service has no backend.
    NoBackend = 158, "SERVICE_BACKEND_NOT_FOUND";
    /// No tunnel endpoint is known for the destination's node.
    NoTunnelEndpoint = 160, "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT";
    /// Masquerade found no free port.
    NoNatMapping = 167, "NO_MAPPING_FOR_NAT_MASQUERADE";
    /// Masquerade of a protocol without ports.
    NatProtocol = 168, "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE";
    /// No next hop is known.
    NoNextHop = 169, "FIB_LOOKUP_FAILED";
    /// A Pod sent overlay frames itself.
    TunnelFromPod = 170, "ENCAPSULATION_TRAFFIC_IS_PROHIBITED";
    /// The identity on the wire can't be the sender's.
    InvalidIdentity = 171, "INVALID_IDENTITY";
    /// An overlay frame from an address that is no node.
    UnknownSender = 172, "UNKNOWN_SENDER";
    /// A service address that nothing serves on this port and protocol.
    ServiceAddress = 174, "IS_A_CLUSTERIP";
    /// A later fragment came without its first.
    FragmentWithoutFirst = 175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND";
    /// A neighbour or router message that a Pod has no business sending.
    ForbiddenIcmpv6 = 176, "FORBIDDEN_ICMPV6_MESSAGE";
    /// The client's address is in none of the service's source ranges.
    SourceRange = 177, "DENIED_BY_LB_SRC_RANGE_CHECK";
    /// A deny rule.
    PolicyDeny = 181, "POLICY_DENY";
    /// A VNI of another kind of network.
    InvalidVni = 183, "INVALID_VNI";
    /// Time to live ran out here.
    TtlExceeded = 196, "TTL_EXCEEDED";
    /// Larger than the path allows; the sender was told. Malla's own number (Hubble has none).
    PacketTooBig = 240, "PACKET_TOO_BIG";
    /// Traffic policy Local, and the service's endpoints are all on other nodes. Malla's own number.
    NoLocalBackend = 241, "NO_LOCAL_BACKEND";
}
