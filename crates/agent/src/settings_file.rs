//! The settings of the loaded programs in a file, for `malla bpf config`: they are constants inside the programs, so no
//! map tells them while the agent is away.

use crate::error::Error;
use datapath_layouts::{NodeConfig, Observation, Routing};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;

/// Name of the file in the state folder.
pub const FILE: &str = "config.json";

/// [`NodeConfig`] in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `vxlan` or `native`.
    pub routing: String,
    /// Own address, IPv4.
    pub node_ipv4: Option<IpAddr>,
    /// Own address, IPv6.
    pub node_ipv6: Option<IpAddr>,
    /// Own end of tunnels.
    pub tunnel_source: Option<IpAddr>,
    /// Cookie of the node's network namespace.
    pub host_netns_cookie: u64,
    /// Index of the network device.
    pub network_ifindex: u32,
    /// Its Ethernet address.
    pub network_mac: String,
    /// Its MTU, bytes.
    pub network_mtu: u32,
    /// Index of the overlay device.
    pub overlay_ifindex: u32,
    /// Largest packet inside of the overlay, bytes.
    pub overlay_mtu: u32,
    /// NodePorts.
    pub node_ports: String,
    /// Ports of masquerade.
    pub nat_ports: String,
    /// Own cluster id.
    pub cluster: u8,
    /// What is told of packets: `drops`, `flows` too, or all `packets`; empty: an agent that did not say.
    #[serde(default)]
    pub observation: String,
}

impl From<&NodeConfig> for Settings {
    fn from(config: &NodeConfig) -> Self {
        let some = |address: datapath_layouts::Address| (!address.is_zero()).then(|| address.to_ip());
        Self {
            routing: if config.routing == Routing::Native as u32 { "native" } else { "vxlan" }.to_owned(),
            node_ipv4: some(config.node_ipv4),
            node_ipv6: some(config.node_ipv6),
            tunnel_source: some(config.tunnel_source),
            host_netns_cookie: config.host_netns_cookie,
            network_ifindex: config.network_ifindex,
            network_mac: netlink::MacAddress(config.network_mac).to_string(),
            network_mtu: config.network_mtu,
            overlay_ifindex: config.overlay_ifindex,
            overlay_mtu: config.overlay_mtu,
            node_ports: format!("{}-{}", config.node_port_first, config.node_port_last),
            nat_ports: format!("{}-{}", config.nat_port_first, config.nat_port_last),
            cluster: config.cluster,
            observation: Observation::name(config.observation).to_owned(),
        }
    }
}

/// Writes the file, beside and renamed over.
///
/// # Errors
/// When it can't be written.
pub fn write(state_dir: &Path, config: &NodeConfig) -> Result<(), Error> {
    let path = state_dir.join(FILE);
    let beside = state_dir.join("config.json.new");
    let content = |source| Error::Content { path: path.clone(), source };
    let bytes = serde_json::to_vec_pretty(&Settings::from(config)).map_err(content)?;
    std::fs::write(&beside, bytes).map_err(Error::file("write", &beside))?;
    std::fs::rename(&beside, &path).map_err(Error::file("rename", &beside))
}

/// Reads the file.
///
/// # Errors
/// When it is not there or holds something else.
pub fn read(state_dir: &Path) -> Result<Settings, Error> {
    let path = state_dir.join(FILE);
    let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Content { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = std::env::temp_dir().join(format!("malla-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(read(&folder).is_err());
        let observation = Observation::Packets as u32;
        let config = NodeConfig { routing: Routing::Native as u32, network_mtu: 1500, observation, ..NodeConfig::ZERO };
        write(&folder, &config).unwrap();
        let settings = read(&folder).unwrap();
        let told = (settings.routing.as_str(), settings.network_mtu, settings.observation.as_str());
        assert_eq!(told, ("native", 1500, "packets"));
        assert_eq!(settings.node_ipv4, None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
