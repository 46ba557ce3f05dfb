//! Pods of other nodes that have gone. Where they were, their flows end with them; here nothing comes of them any more, and their
//! entries would live for hours, to be told as timed out in the end.

use super::state::State;
use datapath_layouts::{Address, PrefixKey};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Since when nobody is at these addresses.
#[derive(Default)]
pub(super) struct Away(pub(super) HashMap<Address, Instant>);

impl Away {
    /// Somebody has come to an address of another node, or gone from it. Ranges are nobody's.
    pub(super) fn note(&mut self, key: &PrefixKey, is_there: bool) {
        if key.prefix_len != PrefixKey::FULL {
            return;
        }
        if is_there {
            self.0.remove(&key.address);
        } else {
            self.0.insert(key.address, Instant::now());
        }
    }
}

impl State {
    /// Ends the flows of those who have not come back.
    pub(super) fn end_flows_of_the_gone(&mut self) {
        let mut gone: HashSet<Address> =
            self.away.0.extract_if(|_, since| since.elapsed() >= GRACE).map(|(address, _)| address).collect();
        if gone.is_empty() {
            return;
        }
        // An entry may have given way for want of room, too: then its Pod is there.
        for address in self.identities.published().flat_map(|one| &one.addresses) {
            gone.remove(&Address::from_ip(*address));
        }
        self.parts.collector.elsewhere(gone);
    }
}

/// One whose entry moves from a slice to another is away for a moment.
const GRACE: Duration = Duration::from_secs(5);
