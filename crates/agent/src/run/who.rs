//! Who is who, into the maps.

use super::state::State;
use crate::error::Error;
use crate::identities::Ranges;
use crate::node_conditions::Room;
use crate::policies;
use datapath_layouts::identity::{FIRST_ALLOCATED, HOST};
use model::Node;
use std::collections::HashMap;

impl State {
    pub(super) fn settle_identities(&mut self) -> Result<(), Error> {
        let sweep = self.nodes.is_synced();
        if let Some((desired, _)) = &self.applied {
            let nodes: Vec<&Node> = self.nodes.values().collect();
            self.identities.peers.set_ranges(Ranges::new(desired, &self.parts.own, &nodes));
            // What the ranges need is not for single Pods.
            let room = self.parts.ipcache_room.saturating_sub(desired.ipcache.len());
            let ipcache = &*self.parts.maps.ipcache;
            for change in self.identities.peers.plan(room, sweep) {
                let written = match &change.entry {
                    Some(route) => ipcache.insert(&change.key, route),
                    None => ipcache.remove(&change.key).map(drop),
                };
                if let Err(error) = written {
                    // How far it came is in the map.
                    self.identities.peers.adopt(ipcache.entries()?);
                    return Err(error.into());
                }
                self.tell_peer(&change.key, change.entry.as_ref());
                self.away.note(&change.key, change.entry.is_some());
                self.identities.peers.done(&change);
            }
        }
        if self.identities.local_may_differ() {
            self.tell_local_identities();
        }
        Ok(())
    }

    /// First what everybody may, then who they are: nobody becomes somebody whose policy is not there.
    pub(super) fn settle_policies(&mut self) -> Result<(), Error> {
        let told = self.nodes.is_synced()
            && self.identities.is_synced()
            && self.policies.is_synced()
            && self.services.is_synced();
        if !told && !self.policies.is_planned() {
            return Ok(());
        }
        self.policies.set_nodes(self.nodes.values());
        let own = &self.parts.own;
        self.policies.set_host(own, own.addresses.iter().any(|address| self.api_servers.contains(address)));
        let node_policy = if self.policies.is_about_host() { HOST } else { 0 };
        if node_policy == 0 {
            // Before its tables go: without them nothing would be known of it but that it is judged.
            self.judge_node(0)?;
        }
        let local = &self.parts.local_identities;
        let pods = self.parts.pods.list();
        let about_to_be = pods.iter().filter_map(|pod| local.get(pod.name.as_ref()?));
        let subjects = pods.iter().map(|pod| pod.identity).chain(about_to_be);
        let subjects = subjects.filter(|number| *number >= FIRST_ALLOCATED);
        self.policies.set_subjects(subjects.chain((node_policy != 0).then_some(HOST)).collect());
        let changes = self.policies.plan();
        self.write_policies(&changes)?;
        self.tell_written(&changes);
        self.judge_node(node_policy)?;
        let room = self.policies.no_room().map_or(Room::Enough, Room::Full);
        self.parts.policy_room_told.send_if_modified(|told| std::mem::replace(told, room.clone()) != room);
        self.identify_pods()?;
        // Whoever asks for news waits for what is enforced, and not the other way round.
        self.attempt("news of policies", Self::tell_policies);
        Ok(())
    }

    /// From here on the node itself is judged by this policy (0 = by none), at all of its addresses.
    fn judge_node(&mut self, policy: u32) -> Result<(), Error> {
        if self.node_policy == policy {
            return Ok(());
        }
        tracing::info!("the node itself is {}", if policy == 0 { "not judged any more" } else { "judged by policy" });
        self.node_policy = policy;
        self.settle_topology()
    }

    /// What no packet reads any more: all that were under way when it was left are through since the last tick.
    pub(super) fn sweep_policies(&mut self) -> Result<(), Error> {
        let changes = self.policies.sweep();
        self.write_policies(&changes)
    }

    fn write_policies(&mut self, changes: &[policy::plan::Change]) -> Result<(), Error> {
        if let Err(error) = policies::apply(&self.parts.maps.policy, changes) {
            let error = error.into();
            self.tell_unwritten(changes, &error);
            // How far it came is in the maps; the next tick goes on from there.
            self.policies.recover(self.parts.maps.policy.tables()?, self.parts.policy_room);
            return Err(error);
        }
        if !changes.is_empty() {
            tracing::debug!("policies: {} writes", changes.len());
        }
        Ok(())
    }

    /// Those who make a Pod's network ask for Pods of this node, and for those of which nobody has said yet where they are.
    fn tell_local_identities(&self) {
        let own = &self.parts.own.addresses;
        let here = self.identities.published().filter(|one| one.node.is_none_or(|node| own.contains(&node)));
        let numbers: HashMap<_, _> = here.map(|one| (one.pod.clone(), one.identity)).collect();
        self.parts.local_identities.replace(numbers);
    }

    /// A Pod that no slice names any more stays who it was: it is about to end.
    pub(super) fn identify_pods(&mut self) -> Result<(), Error> {
        let local = &self.parts.local_identities;
        for pod in self.parts.pods.identify(|name| local.get(name))? {
            self.tell_judged(&pod);
            let name = pod.name.map(|name| name.to_string()).unwrap_or_default();
            tracing::info!("Pod {name} has identity {}", pod.identity);
        }
        Ok(())
    }
}
