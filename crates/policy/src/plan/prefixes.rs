//! Prefixes get known without changing a verdict.

use super::transition::peer_key;
use super::{Change, Planner, prefix};
use datapath_layouts::CidrId;
use datapath_layouts::policy::level;
use ipnet::IpNet;

const LEVELS: [u8; 3] = [level::CIDR, level::CIDR_OUTSIDE, level::CIDR_UNKNOWN];

impl Planner {
    /// Makes every prefix known that a policy names, if there is room.
    pub(super) fn name_prefixes(&mut self, changes: &mut Vec<Change>) {
        let wanted = prefix::named(self.policies(), &self.nodes);
        self.unfit.clear();
        for net in wanted {
            if !self.prefixes.contains_key(&net) && !self.name_prefix(net, changes) {
                self.unfit.insert(net);
            }
        }
    }

    /// In every table the new prefix is first in the classes of the one that holds its addresses until now.
    fn name_prefix(&mut self, net: IpNet, changes: &mut Vec<Change>) -> bool {
        let around = self.prefixes.iter().filter(|(other, _)| prefix::contains(other, &net));
        let around = around.max_by_key(|(other, _)| other.prefix_len()).map(|(_, id)| *id);
        let mut copies = Vec::new();
        for (key, live) in &self.live {
            for level in LEVELS {
                let class = around.and_then(|id| live.entries.get(&(level, id)));
                copies.extend(class.map(|class| (*key, level, *class)));
            }
        }
        if self.tables.cidrs.len() >= self.capacity.cidrs
            || self.tables.peers.len() + copies.len() > self.capacity.peers
        {
            return false;
        }
        let id = self.next();
        for (key, level, class) in copies {
            let Some(live) = self.live.get_mut(&key) else { continue };
            live.entries.insert((level, id), class);
            let table = live.policy.table;
            self.classes.hold(class);
            self.write(Change::WritePeer(peer_key(table, (level, id)), class), changes);
        }
        self.write(Change::WriteCidr(prefix::key(&net), CidrId { id }), changes);
        self.prefixes.insert(net, id);
        true
    }
}
