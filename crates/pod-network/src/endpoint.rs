//! An endpoint: one container's one interface, with all that must be known to find, check and remove it.

use std::{net::IpAddr, path::PathBuf};

use cni_protocol::PortMapping;
use ipam::Owner;
use netlink::MacAddress;
use serde::{Deserialize, Serialize};

/// How far an endpoint is. Written before the step, so that a crash shows what was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// ADD has begun.
    Preparing,
    /// ADD is done.
    Ready,
    /// DEL has begun.
    Removing,
}

/// One container's one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub container_id: String,
    /// The interface's name in the Pod.
    pub ifname: String,
    /// Name of the CNI network (`name` of its configuration).
    pub network: String,
    /// The Pod's namespace, name and uid (`K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID` of `CNI_ARGS`); empty
    /// where the runtime gave none.
    pub namespace: String,
    pub pod_name: String,
    pub pod_uid: String,
    /// Index of the host side in the node's namespace; 0 until it is made.
    pub host_ifindex: u32,
    pub host_ifname: String,
    pub host_mac: MacAddress,
    pub pod_mac: MacAddress,
    /// In bytes.
    pub mtu: u32,
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead here. Records of before there were any have none.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// Path of the Pod's network namespace, as the runtime gave it.
    pub netns: PathBuf,
    pub phase: Phase,
}

impl Endpoint {
    pub(crate) fn owner(&self) -> Owner {
        Owner { container_id: self.container_id.clone(), ifname: self.ifname.clone() }
    }

    /// An endpoint of which no more is left than its owner: enough to remove whatever there may be.
    pub(crate) fn bare(owner: &Owner, network: &str, addresses: Vec<IpAddr>) -> Self {
        let hash = hash(&owner.container_id, &owner.ifname, "mac");
        let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
        Self {
            host_ifname: host_interface_name(&owner.container_id, &owner.ifname),
            // Both ends from one hash: they differ in their last bit.
            host_mac: MacAddress::local([a, b, c, d, e, f & !1]),
            pod_mac: MacAddress::local([a, b, c, d, e, f | 1]),
            container_id: owner.container_id.clone(),
            ifname: owner.ifname.clone(),
            network: network.to_owned(),
            namespace: String::new(),
            pod_name: String::new(),
            pod_uid: String::new(),
            host_ifindex: 0,
            mtu: 0,
            addresses,
            port_mappings: Vec::new(),
            netns: PathBuf::new(),
            phase: Phase::Preparing,
        }
    }
}

/// Name of the host side's link: `lx` and 11 hexadecimal digits of a hash, so that whoever knows the container finds
/// its link without any record.
#[must_use]
pub fn host_interface_name(container_id: &str, ifname: &str) -> String {
    format!("{HOST_PREFIX}{:011x}", hash(container_id, ifname, "link") & ((1 << 44) - 1))
}

/// Whether a link has the name of a host side.
pub(crate) fn is_host_interface_name(name: &str) -> bool {
    name.strip_prefix(HOST_PREFIX)
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
}

/// FNV-1a, 64 bits (RFC 9923), with a final mix (that of MurmurHash3) as its upper bits depend little on the last
/// bytes. It must never change: names on running nodes come from it.
fn hash(container_id: &str, ifname: &str, purpose: &str) -> u64 {
    let bytes = [container_id, "\0", ifname, "\0", purpose].into_iter().flat_map(str::bytes);
    let mut hash = bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

const HOST_PREFIX: &str = "lx";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_fit_and_stay_as_they_are() {
        let name = host_interface_name("c0ffee", "eth0");
        assert!(is_host_interface_name(&name) && name.len() <= 15, "{name}");
        // Running nodes have links of this name: whoever changes the hash loses them.
        assert_eq!(name, EXPECTED_NAME);
        let many: HashSet<_> = (0..100_000).map(|i| host_interface_name(&format!("{i:064x}"), "eth0")).collect();
        assert_eq!(many.len(), 100_000);
        for other in ["lx", "lo", "lxtest", "lx0123456789A", "lx0123456789ab", "eth0"] {
            assert!(!is_host_interface_name(other), "{other}");
        }
    }

    #[test]
    fn both_ends_have_their_own_local_mac() {
        let owner = Owner { container_id: "c0ffee".into(), ifname: "eth0".into() };
        let endpoint = Endpoint::bare(&owner, "malla", vec![]);
        assert_ne!(endpoint.host_mac, endpoint.pod_mac);
        assert_eq!(endpoint.host_mac.0[0] & 3, 2);
        assert_eq!(endpoint.pod_mac.0[0] & 3, 2);
    }

    const EXPECTED_NAME: &str = "lx2d5a036d8e2";
}
