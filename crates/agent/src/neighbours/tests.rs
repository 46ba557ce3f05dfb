use super::*;
use crate::table::memory::MemoryTable;
use datapath_layouts::Address;
use netlink::MacAddress;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a kernel has for each address: who answers, and whether it looks after it.
#[derive(Default)]
struct Fake {
    table: RefCell<BTreeMap<IpAddr, (Option<MacAddress>, bool)>>,
    deaf: bool,
}

impl Link for Fake {
    fn neighbours(&self, interface: u32) -> Result<Vec<netlink::Neighbour>, Error> {
        let one = |(address, (mac, managed)): (&IpAddr, &(Option<MacAddress>, bool))| netlink::Neighbour {
            interface,
            address: *address,
            mac: *mac,
            valid: mac.is_some(),
            permanent: false,
            managed: *managed,
        };
        Ok(self.table.borrow().iter().map(one).collect())
    }

    fn look_after(&self, _: u32, address: IpAddr) -> Result<(), Error> {
        if self.deaf {
            return Err(Error::NotEthernet { device: "eth0".into() });
        }
        self.table.borrow_mut().entry(address).or_default().1 = true;
        Ok(())
    }

    fn forget(&self, _: u32, address: IpAddr) -> Result<(), Error> {
        self.table.borrow_mut().remove(&address);
        Ok(())
    }
}

impl Fake {
    fn looks_after(&self) -> Vec<IpAddr> {
        self.table.borrow().iter().filter(|(_, (_, managed))| *managed).map(|(address, _)| *address).collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn node(name: &str, addresses: &[&str]) -> Node {
    Node {
        name: name.into(),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        pod_ranges: Vec::new(),
        zone: None,
        labels: Default::default(),
    }
}

fn mac_of(map: &MemoryTable<AddressKey, Neighbour>, address: &str) -> Option<[u8; 6]> {
    map.get(&AddressKey::local(Address::from_ip(ip(address)))).unwrap().map(|entry| entry.mac)
}

struct Fixture {
    neighbours: Neighbours,
    link: Fake,
    map: MemoryTable<AddressKey, Neighbour>,
    nodes: Vec<Node>,
}

impl Fixture {
    fn new() -> Self {
        let nodes = vec![
            node("a", &["172.18.0.3", "fc00::3"]),
            node("b", &["172.18.0.4", "fc00::4"]),
            node("far", &["172.18.0.9", "10.1.1.1"]),
        ];
        let map = MemoryTable::with_capacity(100);
        Self { neighbours: Neighbours::default(), link: Fake::default(), map, nodes }
    }

    fn settle(&mut self, all_nodes: bool) -> Result<(), Error> {
        self.neighbours.look_again();
        let prefixes = ["172.18.0.3/16", "fc00::3/64"].map(|prefix| prefix.parse().unwrap());
        let nodes = (&"a".into(), self.nodes.iter());
        self.neighbours.settle(nodes, all_nodes, (2, &prefixes), &self.link, &self.map)
    }

    fn answers(&self, address: &str, last: u8) {
        self.link.table.borrow_mut().entry(ip(address)).or_default().0 = Some(MacAddress([2, 0, 0, 0, 0, last]));
    }
}

#[test]
fn who_has_not_answered_is_nobody_and_who_is_far_is_not_judged() {
    let mut f = Fixture::new();
    f.settle(true).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([0; 6]));
    assert_eq!(mac_of(&f.map, "172.18.0.3"), None, "this node's frames don't come by the network");
    assert_eq!(mac_of(&f.map, "10.1.1.1"), None, "its frames are the router's");
    assert_eq!(f.link.looks_after().len(), 3);
    let expected = Origins { by_device: 0, unknown: vec!["b".into()], by_address: vec!["far".into()] };
    assert_eq!(*f.neighbours.origins(), expected);

    f.answers("172.18.0.4", 4);
    f.answers("fc00::4", 4);
    f.answers("172.18.0.77", 7);
    f.settle(true).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([2, 0, 0, 0, 0, 4]));
    assert_eq!(mac_of(&f.map, "fc00::4"), Some([2, 0, 0, 0, 0, 4]));
    assert_eq!(mac_of(&f.map, "172.18.0.77"), None, "no node");
    assert_eq!(f.neighbours.origins().by_device, 1);
}

#[test]
fn who_is_silent_keeps_its_device_until_another_answers() {
    let mut f = Fixture::new();
    f.answers("172.18.0.4", 4);
    f.settle(true).unwrap();
    // The device went down and came back: the kernel has forgotten everything, and is asked again.
    f.link.table.borrow_mut().clear();
    f.settle(true).unwrap();
    assert_eq!(f.link.looks_after().len(), 3);
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([2, 0, 0, 0, 0, 4]));
    // Also for the next agent, which finds no more than the map.
    f.neighbours = Neighbours::default();
    f.settle(false).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([2, 0, 0, 0, 0, 4]));
    f.answers("172.18.0.4", 5);
    f.settle(true).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([2, 0, 0, 0, 0, 5]));
}

#[test]
fn a_node_that_left_is_forgotten_once_all_are_known() {
    let mut f = Fixture::new();
    f.settle(true).unwrap();
    f.nodes.remove(1);
    f.settle(false).unwrap();
    assert!(mac_of(&f.map, "172.18.0.4").is_some(), "it may not have been told yet");
    f.settle(true).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), None);
    assert_eq!(f.link.looks_after(), [ip("172.18.0.9")]);
}

#[test]
fn what_an_administrator_has_written_is_not_asked_for() {
    let [one, other] = ["172.18.0.4", "172.18.0.5"].map(ip);
    let written = netlink::Neighbour {
        interface: 2,
        address: one,
        mac: Some(MacAddress([2, 0, 0, 0, 0, 4])),
        valid: true,
        permanent: true,
        managed: false,
    };
    let asked = plan::to_look_after(&[one, other].into(), std::slice::from_ref(&written));
    assert_eq!(asked, [other].into());
    // And is believed.
    let entries = plan::entries(&[one].into(), &[written], &Entries::default());
    assert_eq!(entries[&AddressKey::local(Address::from_ip(one))].mac, [2, 0, 0, 0, 0, 4]);
}

#[test]
fn a_kernel_that_can_not_look_for_nodes_shuts_nobody_out() {
    let mut f = Fixture::new();
    f.link.deaf = true;
    f.settle(true).unwrap_err();
    assert!(f.map.entries().unwrap().is_empty());
}
