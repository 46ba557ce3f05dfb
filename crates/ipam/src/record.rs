//! One line of the journal: `crc32 json\n`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::allocator::{Allocator, Owner, Timestamp};

/// What happened. A compacted journal has `Rest` and `Turn` for what was left of older records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    Allocate {
        owner: Owner,
        addresses: Vec<IpAddr>,
    },
    Release {
        owner: Owner,
        at: Timestamp,
    },
    Rest {
        address: IpAddr,
        at: Timestamp,
    },
    /// The last address given of a range.
    Turn {
        address: IpAddr,
    },
}

impl Record {
    pub(crate) fn apply(self, allocator: &mut Allocator) {
        match self {
            Self::Allocate { owner, addresses } => allocator.assign(owner, addresses),
            Self::Release { owner, at } => drop(allocator.release(&owner, at)),
            Self::Rest { address, at } => allocator.rest(address, at),
            Self::Turn { address } => allocator.set_cursor(address),
        }
    }

    pub(crate) fn encode(&self) -> Result<String, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", crc32(json.as_bytes())))
    }

    /// Reads a line, without its newline. `None`: it is torn or damaged.
    pub(crate) fn decode(line: &[u8]) -> Option<Self> {
        let (sum, json) = (line.get(..8)?, line.get(9..)?);
        let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
        if line[8] != b' ' || sum != crc32(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// All that `allocator` holds, as records that make it anew.
pub(crate) fn snapshot(allocator: &Allocator) -> Vec<Record> {
    let mut records: Vec<_> = allocator
        .owners()
        .map(|(owner, addresses)| Record::Allocate { owner: owner.clone(), addresses: addresses.to_vec() })
        .collect();
    records.extend(allocator.resting().map(|(address, at)| Record::Rest { address, at }));
    records.extend(allocator.cursors().map(|address| Record::Turn { address }));
    records
}

/// CRC-32 as in IEEE 802.3 and gzip (RFC 1952 §8), bit by bit: lines are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_damaged_line_is_recognised() {
        let record =
            Record::Release { owner: Owner { container_id: "a\nb".into(), ifname: "eth0".into() }, at: Timestamp(7) };
        let line = record.encode().unwrap();
        assert_eq!(line.matches('\n').count(), 1, "a newline inside is escaped");
        let line = line.trim_end().as_bytes();
        assert_eq!(Record::decode(line), Some(record));
        for i in 0..line.len() {
            let mut damaged = line.to_vec();
            damaged[i] ^= 1;
            assert_eq!(Record::decode(&damaged), None, "byte {i}");
            assert_eq!(Record::decode(&line[..i]), None, "cut at {i}");
        }
    }
}
