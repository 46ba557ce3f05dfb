//! Rules of kube-proxy's shape, as text: what `iptables-restore` and `nft -f` take. Pure.
//!
//! Shapes as kube-proxy 1.33 writes them (`pkg/proxy/iptables`, `pkg/proxy/nftables`). Only the measured service has
//! endpoints of its own; the others share a chain that no packet ever reaches, which spares minutes of loading and
//! nothing that a packet would see.

use super::node::{NODE, SERVER, TARGET_PORTS};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// First and number of the ports that Kubernetes gives to NodePorts.
const NODE_PORTS: (u16, u32) = (30_000, 2768);

/// `count` services of which one, in the middle, is measured.
#[derive(Clone, Copy, Debug)]
pub struct Services {
    pub count: u32,
}

impl Services {
    /// The one that has real backends: neither first nor last, which are the ends of what a linear search costs.
    pub fn measured(self) -> u32 {
        self.count / 2
    }

    /// Address of a service.
    pub fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number)
    }

    /// NodePorts are fewer than services can be; the measured one always has one, and it stands in their middle.
    pub fn node_port(self, number: u32) -> Option<u16> {
        let with = self.count.min(NODE_PORTS.1);
        let first = self.measured().saturating_sub(with / 2);
        let at = number.checked_sub(first).filter(|&at| at < with)?;
        Some(NODE_PORTS.0 + u16::try_from(at).ok()?)
    }

    /// The measured one's.
    pub fn measured_node_port(self) -> u16 {
        self.node_port(self.measured()).unwrap_or(NODE_PORTS.0)
    }
}

pub const PORT: u16 = 80;

/// Input of `iptables-restore`.
pub fn iptables(services: Services) -> String {
    let mut chains = String::new();
    let mut list = String::new();
    let mut rules = String::new();
    for number in 0..services.count {
        let (address, name) = (services.address(number), format!("{number:016X}"));
        let _ = writeln!(chains, ":KUBE-SVC-{name} - [0:0]");
        let _ = writeln!(
            list,
            "-A KUBE-SERVICES -d {address}/32 -p tcp -m comment --comment \"default/service-{number} cluster IP\" -m tcp --dport {PORT} -j KUBE-SVC-{name}"
        );
        let _ = writeln!(
            rules,
            "-A KUBE-SVC-{name} ! -s 10.244.0.0/16 -d {address}/32 -p tcp -m tcp --dport {PORT} -j KUBE-MARK-MASQ"
        );
        if number == services.measured() {
            rules += &format!(
                "-A KUBE-SVC-{name} -m statistic --mode random --probability 0.5 -j KUBE-SEP-0\n-A KUBE-SVC-{name} -j KUBE-SEP-1\n"
            );
        } else {
            let _ = writeln!(rules, "-A KUBE-SVC-{name} -j KUBE-SEP-OTHERS");
        }
        if let Some(port) = services.node_port(number) {
            let _ = writeln!(chains, ":KUBE-EXT-{name} - [0:0]");
            let _ = writeln!(rules, "-A KUBE-NODEPORTS -p tcp -m tcp --dport {port} -j KUBE-EXT-{name}");
            let _ = writeln!(rules, "-A KUBE-EXT-{name} -j KUBE-MARK-MASQ\n-A KUBE-EXT-{name} -j KUBE-SVC-{name}");
        }
    }
    let mut endpoints = String::new();
    for (at, port) in TARGET_PORTS.iter().enumerate() {
        let _ = writeln!(chains, ":KUBE-SEP-{at} - [0:0]");
        let _ = writeln!(
            endpoints,
            "-A KUBE-SEP-{at} -s {SERVER}/32 -j KUBE-MARK-MASQ\n-A KUBE-SEP-{at} -p tcp -m tcp -j DNAT --to-destination {SERVER}:{port}"
        );
    }
    format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         :KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
         :KUBE-SEP-OTHERS - [0:0]\n{chains}\
         -A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
         {list}-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n{rules}{endpoints}COMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n\
         -A FORWARD -j KUBE-FORWARD\n-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )
}

/// Input of `nft -f`.
pub fn nftables(services: Services) -> String {
    let mut chains = String::new();
    let mut addresses = Vec::new();
    let mut ports = Vec::new();
    for number in 0..services.count {
        let address = services.address(number);
        addresses.push(format!("{address} . tcp . {PORT} : goto service-{number}"));
        let backends = if number == services.measured() {
            "numgen random mod 2 vmap { 0 : goto endpoint-0, 1 : goto endpoint-1 }"
        } else {
            "goto endpoint-others"
        };
        let _ = writeln!(
            chains,
            "chain service-{number} {{ ip daddr {address} tcp dport {PORT} ip saddr != 10.244.0.0/16 jump mark-for-masquerade; {backends}; }}"
        );
        if let Some(port) = services.node_port(number) {
            ports.push(format!("tcp . {port} : goto external-{number}"));
            let _ = writeln!(chains, "chain external-{number} {{ jump mark-for-masquerade; goto service-{number}; }}");
        }
    }
    let mut endpoints = String::new();
    for (at, port) in TARGET_PORTS.iter().enumerate() {
        let _ = writeln!(
            endpoints,
            "chain endpoint-{at} {{ ip saddr {SERVER} jump mark-for-masquerade; meta l4proto tcp dnat to {SERVER}:{port}; }}"
        );
    }
    format!(
        "table ip kube-proxy {{\n\
         chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}\n\
         chain masquerading {{ meta mark & 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade fully-random; }}\n\
         {endpoints}chain endpoint-others {{ drop; }}\n{chains}\
         map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {} }}; }}\n\
         map service-nodeports {{ type inet_proto . inet_service : verdict; elements = {{ {} }}; }}\n\
         set nodeport-ips {{ type ipv4_addr; elements = {{ {NODE} }}; }}\n\
         chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports; }}\n\
         chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}\n\
         chain nat-output {{ type nat hook output priority -100; jump services; }}\n\
         chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}\n\
         chain filter-forward {{ type filter hook forward priority -110; ct state invalid drop; }}\n}}\n",
        addresses.join(", "),
        ports.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_service_is_in_the_middle_and_has_a_node_port() {
        for count in [1, 10, 1000, 10_000, 50_000] {
            let services = Services { count };
            let ports: Vec<u16> = (0..count).filter_map(|number| services.node_port(number)).collect();
            assert_eq!(ports.len() as u32, count.min(2768));
            assert!(ports.iter().all(|port| (30_000..=32_767).contains(port)));
            assert!(ports.is_sorted() && ports.contains(&services.measured_node_port()));
        }
    }

    #[test]
    fn one_rule_or_element_per_service() {
        let services = Services { count: 100 };
        assert_eq!(iptables(services).matches("-A KUBE-SERVICES -d ").count(), 100);
        assert_eq!(nftables(services).matches(" : goto service-").count(), 100);
    }
}
