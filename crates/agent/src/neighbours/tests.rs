use super::*;
use crate::facts::Device;
use crate::table::memory::MemoryTable;
use datapath_layouts::Address;
use std::cell::RefCell;

#[derive(Default)]
struct Fake {
    answering: RefCell<Answering>,
    looked_after: RefCell<BTreeSet<IpAddr>>,
    deaf: bool,
}

impl Link for Fake {
    fn answering(&self, _: u32) -> Result<Answering, Error> {
        Ok(self.answering.borrow().clone())
    }

    fn look_after(&self, _: u32, address: IpAddr) -> Result<(), Error> {
        if self.deaf {
            return Err(Error::NotEthernet { device: "eth0".into() });
        }
        self.looked_after.borrow_mut().insert(address);
        Ok(())
    }

    fn forget(&self, _: u32, address: IpAddr) -> Result<(), Error> {
        self.looked_after.borrow_mut().remove(&address);
        Ok(())
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

fn facts() -> Facts {
    let device = |name: &str, index| Device { name: name.into(), index, mac: [2; 6], mtu: 1500 };
    let addresses = ["172.18.0.3/16", "fc00::3/64"].map(|prefix| prefix.parse().unwrap()).to_vec();
    Facts { network: device("eth0", 2), overlay: device("malla.vxlan", 3), addresses, gateways: Vec::new() }
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
        self.neighbours.settle((&"a".into(), self.nodes.iter()), all_nodes, &facts(), &self.link, &self.map)
    }

    fn answers(&self, address: &str, last: u8) {
        self.link.answering.borrow_mut().insert(ip(address), [2, 0, 0, 0, 0, last]);
    }
}

#[test]
fn who_has_not_answered_is_nobody_and_who_is_far_is_not_judged() {
    let mut f = Fixture::new();
    f.settle(true).unwrap();
    assert_eq!(mac_of(&f.map, "172.18.0.4"), Some([0; 6]));
    assert_eq!(mac_of(&f.map, "172.18.0.3"), None, "this node's frames don't come by the network");
    assert_eq!(mac_of(&f.map, "10.1.1.1"), None, "its frames are the router's");
    assert_eq!(f.link.looked_after.borrow().len(), 3);
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
    f.link.answering.borrow_mut().clear();
    f.settle(true).unwrap();
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
    assert_eq!(f.link.looked_after.borrow().iter().copied().collect::<Vec<_>>(), [ip("172.18.0.9")]);
}

#[test]
fn a_kernel_that_can_not_look_for_nodes_shuts_nobody_out() {
    let mut f = Fixture::new();
    f.link.deaf = true;
    f.settle(true).unwrap_err();
    assert!(f.map.entries().unwrap().is_empty());
}
