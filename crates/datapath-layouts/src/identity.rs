//! Reserved identities. The numbers are Cilium's, so that meshes and tools that know them keep working.

/// Nothing is known about the peer.
pub const UNKNOWN: u32 = 0;
/// The own node.
pub const HOST: u32 = 1;
/// Everything outside the cluster.
pub const WORLD: u32 = 2;
/// A Pod without an identity of Malla.
pub const UNMANAGED: u32 = 3;
/// Health endpoints.
pub const HEALTH: u32 = 4;
/// A Pod whose identity is not known yet.
pub const INIT: u32 = 5;
/// Another node of the cluster.
pub const REMOTE_NODE: u32 = 6;
/// The API server outside of the cluster's nodes.
pub const KUBE_APISERVER: u32 = 7;
/// The ingress proxy.
pub const INGRESS: u32 = 8;
/// The world's IPv4 half.
pub const WORLD_IPV4: u32 = 9;
/// The world's IPv6 half.
pub const WORLD_IPV6: u32 = 10;
/// Another node of the cluster that runs the API server. Never on the wire: whoever receives from a node's address knows
/// which node it is. In Cilium's scope for nodes (`IdentityScopeRemoteNode` of `pkg/identity`).
pub const NODE_OF_API_SERVER: u32 = (2 << 24) | KUBE_APISERVER;
/// First number that can name a set of labels; up to 16 bits travel in the VNI.
pub const FIRST_ALLOCATED: u32 = 256;
/// Last number that fits the VNI's 16 bits.
pub const LAST_ON_WIRE: u32 = 0xffff;

/// VXLAN network identifier: 8 bits cluster, 16 bits identity. An identity that does not fit travels as *world*.
#[must_use]
#[inline(always)]
pub const fn to_vni(cluster: u8, identity: u32) -> u32 {
    let identity = if identity > LAST_ON_WIRE { WORLD } else { identity };
    ((cluster as u32) << 16) | identity
}

/// Cluster and identity of a VNI.
#[must_use]
#[inline(always)]
pub const fn from_vni(vni: u32) -> (u8, u32) {
    (((vni >> 16) & 0xff) as u8, vni & 0xffff)
}

/// The name people know a reserved identity by.
#[must_use]
pub const fn reserved_name(identity: u32) -> Option<&'static str> {
    Some(match identity {
        UNKNOWN => "unknown",
        HOST => "host",
        WORLD => "world",
        UNMANAGED => "unmanaged",
        HEALTH => "health",
        INIT => "init",
        REMOTE_NODE => "remote-node",
        KUBE_APISERVER | NODE_OF_API_SERVER => "kube-apiserver",
        INGRESS => "ingress",
        WORLD_IPV4 => "world-ipv4",
        WORLD_IPV6 => "world-ipv6",
        _ => return None,
    })
}
