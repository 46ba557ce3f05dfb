//! The outer headers of a packet that goes through the tunnel, for the program that has no VXLAN device behind it. What that
//! device would write, byte by byte: `drivers/net/vxlan/vxlan_core.c` (`vxlan_xmit_one`), RFC 7348 §5.

use datapath_layouts::Address;
use datapath_layouts::config::VXLAN_PORT;

/// Ethernet, IPv4, UDP and VXLAN headers, bytes.
pub const OUTER_V4: usize = 14 + 20 + 8 + 8;
/// With IPv6, bytes.
pub const OUTER_V6: usize = 14 + 40 + 8 + 8;

/// What the headers say.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// The inner flow's hash: spreads flows over the ports, and so over the paths, between two nodes.
    pub hash: u32,
    /// Bytes of the inner frame.
    pub inner_length: u32,
    /// IPv4's identification.
    pub id: u16,
    /// Traffic class of the inner packet.
    pub class: u8,
}

/// The devices' own range of source ports (`udp_flow_src_port` over `net.ipv4.ip_local_port_range` as it is by default).
const PORT_FIRST: u32 = 32_768;
const PORT_COUNT: u32 = 28_232;

/// Traffic class of the outer packet: the sender's is not shown, congestion marks are (RFC 6040 §4.1, compatibility of
/// `INET_ECN_encapsulate`: "experienced" travels as "capable").
#[must_use]
#[inline(always)]
pub const fn outer_class(inner: u8) -> u8 {
    match inner & 3 {
        3 => 2,
        other => other,
    }
}

/// Writes the headers behind the MAC addresses, which the caller knows, into `out`; tells how many bytes they are, the MAC
/// addresses included. Both ends are of one family.
#[inline(always)]
pub fn write(out: &mut [u8; OUTER_V6], source: &Address, destination: &Address, outer: &Outer) -> usize {
    if destination.is_v4() {
        write_v4(out, source, destination, outer);
        OUTER_V4
    } else {
        write_v6(out, source, destination, outer);
        OUTER_V6
    }
}

#[inline(always)]
fn write_v4(out: &mut [u8; OUTER_V6], source: &Address, destination: &Address, outer: &Outer) {
    put(out, 12, 0x0800);
    let total = (outer.inner_length + 36) as u16;
    put(out, 14, 0x4500 | outer_class(outer.class) as u16);
    put(out, 16, total);
    put(out, 18, outer.id);
    put(out, 20, 0);
    put(out, 22, 64 << 8 | 17);
    put(out, 24, 0);
    let mut i = 0;
    while i < 4 {
        out[26 + i] = source.0[12 + i];
        out[30 + i] = destination.0[12 + i];
        i += 1;
    }
    let mut sum = 0u32;
    let mut at = 14;
    while at < 34 {
        sum += (out[at] as u32) << 8 | out[at + 1] as u32;
        at += 2;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put(out, 24, !(sum as u16));
    write_vxlan(out, 34, outer);
}

#[inline(always)]
fn write_v6(out: &mut [u8; OUTER_V6], source: &Address, destination: &Address, outer: &Outer) {
    put(out, 12, 0x86dd);
    put(out, 14, 0x6000 | (outer_class(outer.class) as u16) << 4);
    put(out, 16, 0);
    put(out, 18, (outer.inner_length + 16) as u16);
    put(out, 20, 17 << 8 | 64);
    let mut i = 0;
    while i < 16 {
        out[22 + i] = source.0[i];
        out[38 + i] = destination.0[i];
        i += 1;
    }
    write_vxlan(out, 54, outer);
}

/// UDP without a checksum (RFC 7348 §5; over IPv6 RFC 6935), then VXLAN.
#[inline(always)]
fn write_vxlan(out: &mut [u8; OUTER_V6], at: usize, outer: &Outer) {
    let port = PORT_FIRST + ((outer.hash as u64 * PORT_COUNT as u64) >> 32) as u32;
    put(out, at, port as u16);
    put(out, at + 2, VXLAN_PORT);
    put(out, at + 4, (outer.inner_length + 16) as u16);
    put(out, at + 6, 0);
    put(out, at + 8, 0x0800);
    put(out, at + 10, 0);
    put(out, at + 12, (outer.vni >> 8) as u16);
    put(out, at + 14, (outer.vni << 8) as u16);
}

#[inline(always)]
fn put(out: &mut [u8; OUTER_V6], at: usize, value: u16) {
    let [high, low] = value.to_be_bytes();
    out[at] = high;
    out[at + 1] = low;
}

/// A checksum after a change: `difference` is what `bpf_csum_diff` says with the old sum's complement as its seed
/// (RFC 1624 §3).
#[must_use]
#[inline(always)]
pub const fn folded(difference: u32) -> u16 {
    let sum = (difference & 0xffff) + (difference >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_marks_travel_and_classes_do_not() {
        assert_eq!([0b1011_1000, 1, 2, 0xff].map(outer_class), [0, 1, 2, 2]);
    }

    #[test]
    fn sums_are_folded_twice() {
        assert_eq!((folded(0), folded(0xffff_ffff), folded(0x0001_ffff)), (0xffff, 0, 0xfffe));
    }

    #[test]
    fn every_source_port_is_a_local_one() {
        let mut out = [0; OUTER_V6];
        let ends = (Address::from_v4([172, 18, 0, 2]), Address::from_v4([172, 18, 0, 3]));
        for hash in [0, 1, u32::MAX / 2, u32::MAX] {
            let outer = Outer { vni: 2, hash, inner_length: 60, id: 7, class: 0 };
            assert_eq!(write(&mut out, &ends.0, &ends.1, &outer), OUTER_V4);
            let port = u32::from(u16::from_be_bytes([out[34], out[35]]));
            assert!((PORT_FIRST..PORT_FIRST + PORT_COUNT).contains(&port), "{port}");
        }
    }
}
