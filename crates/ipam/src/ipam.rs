//! [`Ipam`]: the allocator over its journal.

use std::{net::IpAddr, path::Path, time::Duration};

use ipnet::IpNet;

use crate::{
    allocator::{Allocator, Exhausted, Owner, Timestamp, Usage},
    journal::{Journal, JournalError},
    record::Record,
};

/// Why an address could not be given or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The addresses of a node, on disk.
#[derive(Debug)]
pub struct Ipam {
    allocator: Allocator,
    journal: Journal,
}

impl Ipam {
    /// Opens the journal at `path` (created if missing, with its directory) for the ranges of the node.
    ///
    /// Addresses that were given from other ranges stay with their owners. A released address is not given again for
    /// `rest`.
    pub fn open(path: &Path, ranges: &[IpNet], rest: Duration, now: Timestamp) -> Result<Self, JournalError> {
        let mut allocator = Allocator::new(ranges, rest);
        let journal = Journal::open(path, &mut allocator)?;
        allocator.tidy(now);
        Ok(Self { allocator, journal })
    }

    /// The addresses of `owner`: those it has, or new ones, one of each family. On disk when this returns.
    pub fn allocate(&mut self, owner: &Owner, now: Timestamp) -> Result<Vec<IpAddr>, Error> {
        if let Some(addresses) = self.allocator.addresses_of(owner) {
            return Ok(addresses.to_vec());
        }
        let addresses = self.allocator.choose(owner, now)?;
        self.record(Record::Allocate { owner: owner.clone(), addresses: addresses.clone() }, now)?;
        Ok(addresses)
    }

    /// Takes back what `owner` has and tells what it was; nothing is fine. On disk when this returns.
    pub fn release(&mut self, owner: &Owner, now: Timestamp) -> Result<Vec<IpAddr>, JournalError> {
        let Some(addresses) = self.allocator.addresses_of(owner).map(<[IpAddr]>::to_vec) else { return Ok(Vec::new()) };
        self.record(Record::Release { owner: owner.clone(), at: now }, now)?;
        Ok(addresses)
    }

    /// Gives `owner` exactly these addresses, which it is known to use: for a journal that was lost. Those that are
    /// another's by now stay the other's. Nothing happens if the owner has addresses.
    pub fn claim(&mut self, owner: &Owner, addresses: &[IpAddr], now: Timestamp) -> Result<(), JournalError> {
        let free = addresses.iter().copied().filter(|address| self.allocator.owner_of(*address).is_none());
        let addresses: Vec<IpAddr> = free.collect();
        if self.allocator.addresses_of(owner).is_some() || addresses.is_empty() {
            return Ok(());
        }
        self.record(Record::Allocate { owner: owner.clone(), addresses }, now)
    }

    /// What `owner` has.
    #[must_use]
    pub fn addresses_of(&self, owner: &Owner) -> Option<&[IpAddr]> {
        self.allocator.addresses_of(owner)
    }

    /// Everybody who has addresses.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        self.allocator.owners().map(|(owner, _)| owner.clone()).collect()
    }

    /// How full the ranges are.
    #[must_use]
    pub fn usage(&self, now: Timestamp) -> Vec<Usage> {
        let mut allocator = self.allocator.clone();
        allocator.tidy(now);
        allocator.usage()
    }

    /// The state, for whoever wants to look closer.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// Writes the journal anew without its history.
    pub fn compact(&mut self) -> Result<(), JournalError> {
        self.journal.compact(&self.allocator)
    }

    /// Disk first, memory second: what is not on disk has not happened.
    fn record(&mut self, record: Record, now: Timestamp) -> Result<(), JournalError> {
        self.journal.append(&record)?;
        record.apply(&mut self.allocator);
        self.allocator.tidy(now);
        // The record stands; a compaction that fails (a full disk) is tried again with the next one.
        let _ = self.journal.compact_if_due(&self.allocator);
        Ok(())
    }
}
