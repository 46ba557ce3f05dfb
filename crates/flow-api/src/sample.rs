//! Which flows may be told by a sample, or by their number: those that went as they should.

use crate::extension;
use crate::flow::layer4::Protocol;
use crate::flow::{Flow, Verdict};
use crate::malla::Way;
use std::net::IpAddr;

/// Whether nothing is wrong with it: it was forwarded, and if it ended, it was closed or fell silent. Whatever was dropped or
/// audited, and whatever was reset, refused or left alone, is looked for one by one.
#[must_use]
pub fn is_ordinary(flow: &Flow) -> bool {
    let ended_well = |way: Way| matches!(way, Way::Unknown | Way::Closed | Way::Idle);
    // A way that this program does not know is none that it may leave out.
    let ended = extension::ended(flow).is_none_or(|ended| Way::try_from(ended.way).is_ok_and(ended_well));
    // By its number: what this program does not know is not it.
    flow.verdict == Verdict::Forwarded as i32 && ended
}

/// One of so many connections, the same ones on every node and in every process: all events of a connection, of both directions, are
/// in the sample or none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Hashes up to this one are in it.
    most: u64,
}

impl Sample {
    /// One of `number` connections; 1 (and 0) are all of them. The sample of a larger number is within that of a smaller one.
    #[must_use]
    pub const fn one_of(number: u32) -> Self {
        Self { most: u64::MAX / if number == 0 { 1 } else { number as u64 } }
    }

    /// Whether the flow is told: it is in the sample, or not [ordinary](is_ordinary).
    #[must_use]
    pub fn keeps(self, flow: &Flow) -> bool {
        // Most are asked for everything.
        self.most == u64::MAX || connection(flow) <= self.most || !is_ordinary(flow)
    }
}

/// A number for the protocol and both ends, whichever of them speaks. ICMP has no ports here: all of it between two addresses is one.
fn connection(flow: &Flow) -> u64 {
    let (protocol, source, destination) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        None => (0, 0, 0),
        Some(Protocol::Tcp(tcp)) => (1, tcp.source_port, tcp.destination_port),
        Some(Protocol::Udp(udp)) => (2, udp.source_port, udp.destination_port),
        Some(Protocol::Sctp(sctp)) => (3, sctp.source_port, sctp.destination_port),
        Some(Protocol::IcmPv4(_)) => (4, 0, 0),
        Some(Protocol::IcmPv6(_)) => (5, 0, 0),
        Some(_) => (6, 0, 0),
    };
    let (from, to) = flow.ip.as_ref().map_or(("", ""), |ip| (ip.source.as_str(), ip.destination.as_str()));
    let mut ends = [end(from, source), end(to, destination)];
    ends.sort_unstable();
    let hash =
        ends.as_flattened().iter().fold(FNV_START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    mixed(hash ^ protocol)
}

/// Address and port. What is no address is nobody's.
fn end(address: &str, port: u32) -> [u8; 20] {
    let address = match address.parse() {
        Ok(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
        Ok(IpAddr::V6(address)) => address.octets(),
        Err(_) => [0; 16],
    };
    let mut end = [0; 20];
    end[..16].copy_from_slice(&address);
    end[16..].copy_from_slice(&port.to_be_bytes());
    end
}

/// FNV's upper bits, by which the sample is chosen, hardly know of the last bytes: the ports. MurmurHash3's finalizer spreads them.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// FNV-1a of 64 bits.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{CiliumEventType, Ip, Layer4, Tcp};
    use crate::malla::Ended;
    use crate::numbers::event::POLICY_VERDICT;
    use proptest::prelude::*;

    fn flow((from, source_port): (String, u32), (to, destination_port): (String, u32)) -> Flow {
        let tcp = Tcp { source_port, destination_port, flags: None };
        Flow {
            verdict: Verdict::Forwarded as i32,
            ip: Some(Ip { source: from, destination: to, ..Ip::default() }),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            ..Flow::default()
        }
    }

    fn some(number: u32) -> Flow {
        flow((format!("10.244.{}.5", number % 4), 32_768 + number / 4), ("10.244.9.9".to_owned(), 80))
    }

    fn ended(flow: Flow, way: Way) -> Flow {
        Flow { extensions: Some(extension::pack(&Ended { way: way as i32, ..Ended::default() })), ..flow }
    }

    #[test]
    fn it_is_as_large_as_it_should_be_and_smaller_ones_are_within_larger_ones() {
        let kept = |of: u32| (0..40_000).filter(|number| Sample::one_of(of).keeps(&some(*number))).collect::<Vec<_>>();
        let all = kept(1);
        assert_eq!((all.len(), kept(0).len()), (40_000, 40_000));
        let (ten, hundred) = (kept(10), kept(100));
        // Five standard deviations: the flows are always these, so that it holds or it does not.
        assert!((3_700..4_300).contains(&ten.len()), "{}", ten.len());
        assert!((300..500).contains(&hundred.len()), "{}", hundred.len());
        assert!(hundred.iter().all(|number| ten.contains(number)));
    }

    #[test]
    fn the_sample_is_the_same_on_every_node_and_in_every_version() {
        let kept: Vec<u32> = (0..60).filter(|number| Sample::one_of(10).keeps(&some(*number))).collect();
        assert_eq!(kept, PINNED);
    }

    /// Nodes of two versions tell of the same connections: whoever changes this breaks that. Reckoned by another program.
    const PINNED: &[u32] = &[15, 18, 23, 31, 35, 48, 57, 58];

    #[test]
    fn only_what_went_as_it_should_may_be_left_out() {
        let none = Sample { most: 0 };
        for way in (0..=12).map(|way| Way::try_from(way).ok()) {
            let ordinary = matches!(way, Some(Way::Unknown | Way::Closed | Way::Idle));
            let number = way.map_or(99, |way| way as i32);
            let pack = extension::pack(&Ended { way: number, ..Ended::default() });
            let flow = Flow { extensions: Some(pack), ..some(1) };
            assert_eq!((is_ordinary(&flow), none.keeps(&flow)), (ordinary, !ordinary), "{way:?}");
        }
        for verdict in (0..=7).map(|verdict| Verdict::try_from(verdict).unwrap()) {
            let flow = Flow { verdict: verdict as i32, ..some(1) };
            assert_eq!(none.keeps(&flow), verdict != Verdict::Forwarded, "{verdict:?}");
        }
        assert!(!none.keeps(&some(1)));
    }

    proptest! {
        #[test]
        fn a_connection_is_told_whole_or_not_at_all(
            from in any::<(u32, u16)>(), to in any::<(u32, u16)>(), six: bool, number in 1_u32..50,
        ) {
            let text = |(address, port): (u32, u16)| {
                let address = if six { IpAddr::from((u128::from(address) << 64).to_be_bytes()) } else { IpAddr::from(address.to_be_bytes()) };
                (address.to_string(), u32::from(port))
            };
            let (begin, sample) = (flow(text(from), text(to)), Sample::one_of(number));
            let answer = Flow { is_reply: Some(true), uuid: "another".to_owned(), ..flow(text(to), text(from)) };
            let end = ended(begin.clone(), Way::Closed);
            let verdict = Some(CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 });
            let said = Flow { event_type: verdict, uuid: "of policy".to_owned(), ..begin.clone() };
            prop_assert_eq!(sample.keeps(&begin), sample.keeps(&said));
            prop_assert_eq!(sample.keeps(&begin), sample.keeps(&answer));
            prop_assert_eq!(sample.keeps(&begin), sample.keeps(&end));
        }
    }
}
