use super::*;
use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

const OWN: Mac = [2, 0, 0, 0, 0, 1];
const ASKER: Mac = [2, 0, 0, 0, 0, 2];

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// What a Linux host sends when it looks for `target`, or, to the address itself, when it probes a known neighbour.
fn solicitation(target: Ipv6Addr, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut frame = question(target.into(), ASKER, source.into()).unwrap();
    let mut message = frame.split_off(54);
    message[2..4].fill(0);
    neighbour(frame[..6].try_into().unwrap(), ASKER, (source, destination), message)
}

#[test]
fn an_arp_question_is_read_and_answered() {
    let question = arp(ARP_REQUEST, (ASKER, v4("10.0.0.2")), ([0; 6], v4("10.0.0.9")), BROADCAST);
    let expected =
        Heard::Question { address: v4("10.0.0.9").into(), mac: ASKER, asker: v4("10.0.0.2").into(), version: None };
    assert_eq!(read(&question), Some(expected));
    let answer = answer(v4("10.0.0.9").into(), OWN, ASKER, v4("10.0.0.2").into()).unwrap();
    assert_eq!(answer[..14], [&ASKER[..], &OWN, &[8, 6]].concat());
    assert_eq!(answer[14..42], [&[0, 1, 8, 0, 6, 4, 0, 2][..], &OWN, &[10, 0, 0, 9], &ASKER, &[10, 0, 0, 2]].concat());
    assert_eq!(read(&answer), Some(Heard::Claim { address: v4("10.0.0.9").into(), mac: OWN }));
}

#[test]
fn announcements_are_claims_to_everybody() {
    for (address, to) in [("10.0.0.9", BROADCAST), ("fd00::9", ALL_NODES_MAC)] {
        let address: IpAddr = address.parse().unwrap();
        let frame = announcement(address, OWN);
        assert_eq!(frame[..6], to);
        assert_eq!(read(&frame), Some(Heard::Claim { address, mac: OWN }));
    }
}

#[test]
fn a_solicitation_is_read_and_answered_as_others_read_it() {
    let (target, asker) = (v6("fd00::9"), v6("fd00::2"));
    let expected = Heard::Question { address: target.into(), mac: ASKER, asker: asker.into(), version: None };
    assert_eq!(read(&solicitation(target, asker, solicited_node(target))), Some(expected));
    assert_eq!(read(&solicitation(target, asker, target)), Some(expected), "a probe to the address itself");
    let frame = answer(target.into(), OWN, ASKER, asker.into()).unwrap();
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("no IPv6") };
    assert_eq!(
        (ip.header().source_addr(), ip.header().destination_addr(), ip.header().hop_limit()),
        (target, asker, 255)
    );
    let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else { panic!("no ICMPv6") };
    assert!(icmp.is_checksum_valid(target.octets(), asker.octets()));
    let Icmpv6Type::NeighborAdvertisement(header) = icmp.icmp_type() else { panic!("{:?}", icmp.icmp_type()) };
    assert!(header.solicited && header.r#override && !header.router);
    assert_eq!(read(&frame), Some(Heard::Claim { address: target.into(), mac: OWN }));
}

#[test]
fn a_duplicate_address_probe_is_answered_to_all() {
    let target = v6("fd00::9");
    let probe = solicitation(target, Ipv6Addr::UNSPECIFIED, solicited_node(target));
    let Some(Heard::Question { mac, asker, .. }) = read(&probe) else { panic!("no question") };
    let frame = answer(target.into(), OWN, mac, asker).unwrap();
    assert_eq!(frame[..6], ALL_NODES_MAC);
    assert_eq!(frame[14 + 40 + 4], FLAG_OVERRIDE, "not solicited: RFC 4861 §7.2.4");
}

#[test]
fn a_probe_says_which_lease_its_sender_wrote() {
    for address in ["10.0.0.9", "fd00::9"] {
        let address: IpAddr = address.parse().unwrap();
        for version in [None, Some(0), Some(u64::MAX), Some(42)] {
            let frame = probe(address, OWN, version).unwrap();
            let Some(Heard::Question { address: asked, version: said, asker, .. }) = read(&frame) else {
                panic!("{frame:?}")
            };
            assert_eq!((asked, said, asker.is_unspecified()), (address, version, true));
            let packet = SlicedPacket::from_ethernet(&frame).expect("others read it");
            if let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport {
                let group = solicited_node(v6("fd00::9"));
                assert!(icmp.is_checksum_valid(Ipv6Addr::UNSPECIFIED.octets(), group.octets()));
            }
        }
    }
    // Padding that is not ours, or in a question of somebody who has an address, says nothing.
    let mut frame = probe(v4("10.0.0.9").into(), OWN, Some(42)).unwrap();
    frame[42] ^= 1;
    assert!(matches!(read(&frame), Some(Heard::Question { version: None, .. })));
    frame[42] ^= 1;
    frame[14 + 14 + 3] = 2;
    assert!(matches!(read(&frame), Some(Heard::Question { version: None, .. })));
    frame.truncate(42);
    assert!(matches!(read(&frame), Some(Heard::Question { version: None, .. })));
}

#[test]
fn what_came_over_a_router_or_is_damaged_is_nothing() {
    let target = v6("fd00::9");
    let good = solicitation(target, v6("fd00::2"), solicited_node(target));
    for at in [14 + 7, 14 + 40 + 1, 14 + 40 + 2, 14 + 40 + 20] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(read(&bad), None, "byte {at}");
    }
    let mut ethernet_like = arp(ARP_REQUEST, (ASKER, v4("10.0.0.2")), ([0; 6], v4("10.0.0.9")), BROADCAST);
    ethernet_like[14 + 1] = 6;
    assert_eq!(read(&ethernet_like), None);
}

#[test]
fn groups_are_those_of_the_rfc() {
    assert_eq!(solicited_node(v6("4037::1:800:200e:8c6c")), v6("ff02::1:ff0e:8c6c"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn hostile_frames_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..3) {
        if let Some(ethertype) = frame.get_mut(12..14) {
            match kind {
                0 => ethertype.copy_from_slice(&ETHERTYPE_ARP.to_be_bytes()),
                1 => ethertype.copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes()),
                _ => {}
            }
        }
        let _ = read(&frame);
    }

    #[test]
    fn cut_and_changed_frames_never_panic(cut in 0usize..100, at in 0usize..100, value: u8) {
        let target = v6("fd00::9");
        let mut frame = solicitation(target, v6("fd00::2"), solicited_node(target));
        if let Some(byte) = frame.get_mut(at) {
            *byte = value;
        }
        frame.truncate(cut);
        if let Some(Heard::Claim { .. }) = read(&frame) {
            prop_assert!(frame[54] == ADVERTISEMENT);
        }
    }
}
