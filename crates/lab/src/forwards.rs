//! Which ports of the machine lead where. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::{
    forwarder::Forward,
    launch::API_PORT,
    spec::{LOOPBACK, Protocol},
    state::LabState,
};

/// What a port is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    Api,
    /// An `extraPortMappings` entry of this node.
    Mapping(String),
}

/// Every port of the lab. Targets are IPv4: that is where every lab's node has the same kind of address as kind's.
#[must_use]
pub fn of(state: &LabState) -> Vec<(Purpose, Forward)> {
    let spec = &state.spec;
    let target = |index, port| SocketAddr::new(IpAddr::V4(spec.subnets.node(index).0), port);
    let mut all = Vec::new();
    for address in LOOPBACK {
        let listen = SocketAddr::new(address, state.api_port);
        all.push((Purpose::Api, Forward { listen, protocol: Protocol::Tcp, target: target(0, API_PORT) }));
    }
    for mapping in &spec.ports {
        let (Some(index), Some(port)) = (spec.node_index(&mapping.node), mapping.host_port) else { continue };
        for address in &mapping.listen {
            let listen = SocketAddr::new(*address, port);
            let forward = Forward { listen, protocol: mapping.protocol, target: target(index, mapping.node_port) };
            all.push((Purpose::Mapping(mapping.node.clone()), forward));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kind_file, spec::Requested};

    #[test]
    fn the_api_and_every_mapping_lead_to_their_node() {
        let text = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n  extraPortMappings: [{containerPort: 30080, hostPort: 30080}]\n- role: worker\n  extraPortMappings: [{containerPort: 53, hostPort: 5353, protocol: UDP, listenAddress: 127.0.0.1}]\n";
        let wish = Requested { kind: Some(kind_file::parse("f", text).unwrap()), ..Requested::default() };
        let all = of(&LabState::new(wish.resolve().unwrap().0, 6443));
        let lines: Vec<_> = all.iter().map(|(_, f)| format!("{} {} {}", f.protocol, f.listen, f.target)).collect();
        assert_eq!(
            lines,
            [
                "TCP 127.0.0.1:6443 172.18.0.2:6443",
                "TCP [::1]:6443 172.18.0.2:6443",
                "TCP 127.0.0.1:30080 172.18.0.2:30080",
                "TCP [::1]:30080 172.18.0.2:30080",
                "UDP 127.0.0.1:5353 172.18.0.3:53",
            ]
        );
    }
}
