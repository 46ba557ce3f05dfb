//! `hostPort`: ports of the node that lead to one of its Pods. For the maps each such Pod is a Service of its own, with one
//! endpoint and the node's addresses; so two that want one port, or a Service's external address, are told apart as
//! Services are: one has it, and the other one waits.

use crate::{Desired, PortKey, Target, Wanted, WantedFrontend, WantedRow, desired::RowKind};
use datapath_layouts::service::BACKEND_LOCAL;
use datapath_layouts::{Address, FrontendKey};
use model::{Family, HostPort, ObjectName, Protocol};
use std::net::IpAddr;

/// Whose frontends a Pod's host ports are. No Service has a name with a slash.
#[must_use]
pub fn owner(pod: &ObjectName) -> ObjectName {
    ObjectName::new(&pod.namespace, &format!("{PREFIX}{}", pod.name))
}

/// The Pod that owns frontends, if it is one and not a Service.
#[must_use]
pub fn pod(owner: &ObjectName) -> Option<ObjectName> {
    owner.name.strip_prefix(PREFIX).map(|name| ObjectName::new(&owner.namespace, name))
}

/// An owner of frontends, for people.
#[must_use]
pub fn described(owner: &ObjectName) -> String {
    pod(owner).map_or_else(|| format!("Service {owner}"), |pod| format!("Pod {pod}"))
}

/// What a Pod's host ports should have.
#[must_use]
pub fn host_ports(pod: &ObjectName, addresses: &[IpAddr], ports: &[HostPort], node: &[IpAddr]) -> Wanted {
    let mut out = Wanted::default();
    for port in ports {
        if port.protocol == Protocol::Sctp && port.port != port.target {
            out.problems.push(format!(
                "hostPort {}/SCTP is not served: the container's port is {}, and SCTP keeps its port",
                port.port, port.target
            ));
            continue;
        }
        if let Some(address) = port.address.filter(|address| !node.contains(address)) {
            let port = port.port;
            out.problems.push(format!("hostPort {port}: hostIP {address} is no address of this node"));
            continue;
        }
        for family in Family::BOTH {
            let Some(target) = addresses.iter().copied().find(|&a| Family::of(a) == family) else { continue };
            let at = node.iter().copied().filter(|&a| Family::of(a) == family);
            let at = at.filter(|&a| port.address.is_none_or(|only| only == a));
            add(&mut out, pod, port, family, target, at);
        }
    }
    out
}

fn add(
    out: &mut Wanted,
    pod: &ObjectName,
    port: &HostPort,
    family: Family,
    target: IpAddr,
    at: impl Iterator<Item = IpAddr>,
) {
    let backend = Target { address: Address::from_ip(target), port: port.target, flags: BACKEND_LOCAL, weight: 1 };
    let frontends: Vec<WantedFrontend> = at
        .map(|address| WantedFrontend {
            key: FrontendKey {
                address: Address::from_ip(address),
                port: port.port,
                protocol: port.protocol.number(),
                cluster: 0,
            },
            flags: 0,
            inside: RowKind::Cluster,
            outside: RowKind::Cluster,
        })
        .collect();
    if frontends.is_empty() {
        return;
    }
    let key = PortKey { service: owner(pod), port: port.port, protocol: port.protocol, family };
    // The same port at another of the node's addresses; to another of the container's ports there is no row for it.
    let Some(known) = out.ports.iter_mut().find(|desired| desired.port == key) else {
        let row = WantedRow { backends: vec![backend], maglev: false };
        let rows = [Some(row), None];
        out.ports.push(Desired { port: key, frontends, affinity_seconds: 0, source_ranges: Vec::new(), rows });
        return;
    };
    if known.row(RowKind::Cluster).is_some_and(|row| row.backends == [backend]) {
        known.frontends.extend(
            frontends.into_iter().filter(|new| known.frontends.iter().all(|f| f.key != new.key)).collect::<Vec<_>>(),
        );
    } else {
        let (port, protocol) = (port.port, port.protocol);
        let text = format!("hostPort {port}/{protocol} leads to two ports of the Pod: only the first one is served");
        if !out.problems.contains(&text) {
            out.problems.push(text);
        }
    }
}

const PREFIX: &str = "pod/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Balancer, Capacity, Tables};

    fn pod(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn port(port: u16, target: u16, protocol: Protocol, address: Option<&str>) -> HostPort {
        HostPort { port, target, protocol, address: address.map(|a| a.parse().unwrap()) }
    }

    fn wanted(name: &str, ports: &[HostPort]) -> Wanted {
        let node = ips(&["172.18.0.3", "172.18.0.9", "fc00::3"]);
        host_ports(&pod(name), &ips(&["10.244.1.2", "fd00::2"]), ports, &node)
    }

    fn shown(wanted: &Wanted) -> Vec<String> {
        let all = wanted.ports.iter().flat_map(|port| {
            let to = port.row(RowKind::Cluster).unwrap().backends[0];
            port.frontends.iter().map(move |f| format!("{}:{}>{}:{}", f.key.address, f.key.port, to.address, to.port))
        });
        all.collect()
    }

    #[test]
    fn at_every_address_of_the_node_or_at_the_one_that_is_named() {
        let all = wanted("web", &[port(8080, 80, Protocol::Tcp, None)]);
        let expect = ["172.18.0.3:8080>10.244.1.2:80", "172.18.0.9:8080>10.244.1.2:80", "fc00::3:8080>fd00::2:80"];
        assert_eq!(shown(&all), expect);
        assert!(all.addresses.is_empty(), "the node's other ports stay the node's");
        let one = wanted("web", &[port(8080, 80, Protocol::Tcp, Some("172.18.0.9"))]);
        assert_eq!(shown(&one), expect[1..2]);
        let both = [port(80, 1, Protocol::Tcp, Some("172.18.0.3")), port(80, 1, Protocol::Tcp, Some("172.18.0.9"))];
        assert_eq!(shown(&wanted("web", &both)).len(), 2);
    }

    #[test]
    fn what_can_not_be_done_is_told_and_the_rest_is_done() {
        let ports = [
            port(80, 80, Protocol::Tcp, Some("127.0.0.1")),
            port(90, 91, Protocol::Sctp, None),
            port(92, 92, Protocol::Sctp, Some("fc00::3")),
            port(93, 1, Protocol::Tcp, Some("172.18.0.3")),
            port(93, 2, Protocol::Tcp, Some("172.18.0.9")),
        ];
        let wanted = wanted("web", &ports);
        assert_eq!(shown(&wanted), ["fc00::3:92>fd00::2:92", "172.18.0.3:93>10.244.1.2:1"]);
        let told = wanted.problems.join("\n");
        for text in ["127.0.0.1 is no address of this node", "90/SCTP is not served", "93/TCP leads to two ports"] {
            assert!(told.contains(text), "{told}");
        }
    }

    #[test]
    fn the_second_pod_waits_for_the_port_and_gets_it_when_the_first_goes() {
        let mut balancer = Balancer::recover(Tables::default(), Capacity::each(99));
        let wants = |name| wanted(name, &[port(8080, 80, Protocol::Udp, None)]);
        assert!(balancer.set(&owner(&pod("a")), &wants("a")).unwrap().conflicts.is_empty());
        let second = balancer.set(&owner(&pod("b")), &wants("b")).unwrap();
        assert_eq!(second.conflicts.len(), 3);
        assert_eq!(described(&second.conflicts[0].owner), "Pod default/a");
        let gone = balancer.set(&owner(&pod("a")), &Wanted::default()).unwrap();
        assert!(gone.again.contains(&owner(&pod("b"))));
        assert!(balancer.set(&owner(&pod("b")), &wants("b")).unwrap().conflicts.is_empty());
    }
}
