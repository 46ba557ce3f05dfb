//! Ranges of addresses, as numbers of one family.

use custom_resources::IpPoolBlock;
use ipnet::IpNet;
use model::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// A block that is none; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeError(pub String);

/// Whether the first and the last address of a prefix may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// All addresses may.
    Given,
    /// Network and broadcast addresses are left out; prefixes of one or two addresses have none (RFC 3021).
    Left,
}

impl Range {
    /// From `first` to `last`.
    ///
    /// # Errors
    /// When the two are of different families, or the wrong way round, or IPv4 in the form of IPv6.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        let mapped = |address: IpAddr| matches!(address, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
        if Family::of(first) != Family::of(last) {
            Err(RangeError(format!("{first} and {last} are of different families")))
        } else if first > last {
            Err(RangeError(format!("{first} is behind {last}")))
        } else if mapped(first) || mapped(last) {
            Err(RangeError(format!("{first} to {last}: IPv4 addresses are written as such")))
        } else {
            Ok(Self { first, last })
        }
    }

    /// What a block of a pool stands for; nothing is left of it when its ends are all it had.
    pub(crate) fn of_block(block: &IpPoolBlock, ends: Ends) -> Result<Self, RangeError> {
        let address = |text: &str| -> Result<IpAddr, RangeError> {
            text.parse().map_err(|_| RangeError(format!("{text:?} is no address")))
        };
        match (block.cidr.as_deref(), block.start.as_deref(), block.stop.as_deref()) {
            (Some(cidr), None, None) => Self::of_prefix(cidr, ends),
            (None, Some(start), Some(stop)) => Self::new(address(start)?, address(stop)?),
            (None, Some(start), None) => Self::new(address(start)?, address(start)?),
            _ => Err(RangeError("a block is a cidr, or start and stop, or start alone".to_owned())),
        }
    }

    fn of_prefix(text: &str, ends: Ends) -> Result<Self, RangeError> {
        let prefix: IpNet = text.parse().map_err(|_| RangeError(format!("{text:?} is no cidr")))?;
        let hosts_bits = prefix.max_prefix_len() - prefix.prefix_len();
        let (first, last) = match prefix {
            IpNet::V4(prefix) => (IpAddr::V4(prefix.network()), IpAddr::V4(prefix.broadcast())),
            IpNet::V6(prefix) => (IpAddr::V6(prefix.network()), IpAddr::V6(prefix.broadcast())),
        };
        let whole = Self::new(first, last)?;
        if ends == Ends::Given || hosts_bits < 2 {
            return Ok(whole);
        }
        let family = whole.family();
        Ok(Self { first: from_number(family, number(first) + 1), last: from_number(family, number(last) - 1) })
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// How many addresses; all of IPv6 are one more than is told.
    #[must_use]
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // IpAddr sorts by family first.
        self.first <= address && address <= self.last
    }

    /// The address behind this one, if the range has it.
    #[must_use]
    pub(crate) fn after(&self, address: IpAddr) -> Option<IpAddr> {
        let next = number(address).checked_add(1)?;
        (next <= number(self.last)).then(|| from_number(self.family(), next))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{} - {}", self.first, self.last) }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Numbers come from addresses of the same family, so IPv4's fit.
fn from_number(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, start: &str, stop: &str) -> IpPoolBlock {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        IpPoolBlock { cidr: given(cidr), start: given(start), stop: given(stop) }
    }

    #[test]
    fn blocks_are_what_they_say() {
        for (cidr, start, stop, ends, expected) in [
            ("10.0.0.0/24", "", "", Ends::Given, Ok(("10.0.0.0 - 10.0.0.255", 256))),
            ("10.0.0.0/24", "", "", Ends::Left, Ok(("10.0.0.1 - 10.0.0.254", 254))),
            ("10.0.0.77/24", "", "", Ends::Left, Ok(("10.0.0.1 - 10.0.0.254", 254))),
            ("10.0.0.4/31", "", "", Ends::Left, Ok(("10.0.0.4 - 10.0.0.5", 2))),
            ("10.0.0.4/32", "", "", Ends::Left, Ok(("10.0.0.4", 1))),
            ("10.0.0.4/30", "", "", Ends::Left, Ok(("10.0.0.5 - 10.0.0.6", 2))),
            ("fd00::/120", "", "", Ends::Left, Ok(("fd00::1 - fd00::fe", 254))),
            ("::/0", "", "", Ends::Given, Ok(("IPv4 in IPv6", 0))),
            ("", "10.0.0.9", "10.0.0.11", Ends::Left, Ok(("10.0.0.9 - 10.0.0.11", 3))),
            ("", "fd00::1", "", Ends::Left, Ok(("fd00::1", 1))),
            ("", "10.0.0.9", "10.0.0.8", Ends::Left, Err(())),
            ("", "10.0.0.9", "fd00::1", Ends::Left, Err(())),
            ("", "::ffff:10.0.0.1", "", Ends::Left, Err(())),
            ("", "", "10.0.0.8", Ends::Left, Err(())),
            ("10.0.0.0/24", "10.0.0.1", "", Ends::Left, Err(())),
            ("10.0.0.0/33", "", "", Ends::Left, Err(())),
            ("", "ten", "", Ends::Left, Err(())),
        ] {
            let range = Range::of_block(&block(cidr, start, stop), ends);
            match expected {
                // The whole of IPv6 holds the mapped addresses; its ends are no mapped ones.
                Ok(("IPv4 in IPv6", _)) => assert_eq!(range.unwrap().size(), u128::MAX),
                Ok((text, size)) => {
                    let range = range.unwrap();
                    assert_eq!((range.to_string().as_str(), range.size()), (text, size));
                }
                Err(()) => assert!(range.is_err(), "{cidr} {start} {stop}"),
            }
        }
    }
}
