//! Who is who: identities of Pods, from the slices and objects that the operator writes, to the maps `ipcache` (Pods of other
//! nodes) and `endpoints` (Pods of this one).
//!
//! Invariant: an address is its Pod's only if it lies in a range of the node that the Pod is said to be on. What a slice says
//! beyond that is refused, and told: it could give one Pod's traffic to another node.

mod local;
mod peers;
mod ranges;
mod view;
mod workloads;

pub use local::LocalIdentities;
pub use peers::{Change, Peers, is_exact};
pub use ranges::{Ranges, Refusal};
pub use view::{EndpointView, IdentityView};

use crate::watched::{Told, Watched};
use identity::Published;
use model::Labels;
use std::sync::Arc;
use workloads::Workloads;

/// What the API has told of identities.
#[derive(Debug, Default)]
pub struct Identities {
    objects: Watched<u32, Labels>,
    slices: Watched<Box<str>, Vec<Arc<Published>>>,
    /// Pods of other nodes.
    pub peers: Peers,
    workloads: Workloads,
    local_are_old: bool,
}

impl Identities {
    /// Starts from the entries that the map has.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        Self { peers, ..Self::default() }
    }

    /// Takes what was told of a `CiliumIdentity`; answers with the numbers that became different.
    pub fn take_object(&mut self, told: Told<u32, Labels>) -> Vec<u32> {
        self.objects.take(told).into_iter().map(|difference| difference.key).collect()
    }

    /// Takes what was told of a `CiliumEndpointSlice`.
    pub fn take_slice(&mut self, told: Told<Box<str>, Vec<Published>>) {
        let told = match told {
            Told::Begin => Told::Begin,
            Told::Set(key, value) => {
                let share = |mut one: Published| {
                    one.workload = one.workload.map(|workload| self.workloads.share(workload));
                    Arc::new(one)
                };
                Told::Set(key, value.map(|all| all.into_iter().map(share).collect()))
            }
            Told::Gone(key) => Told::Gone(key),
            Told::End => Told::End,
        };
        let ends = told == Told::End;
        for difference in self.slices.take(told) {
            let new = self.slices.get(&difference.key).map(Vec::as_slice).unwrap_or_default();
            self.peers.claim(difference.old.as_deref().unwrap_or_default(), new);
            self.local_are_old = true;
        }
        if ends {
            self.peers.all_are_told();
        }
    }

    /// Every Pod that has an identity.
    pub fn published(&self) -> impl Iterator<Item = &Arc<Published>> {
        self.slices.values().flatten()
    }

    /// The labels of a number.
    #[must_use]
    pub fn labels(&self, number: u32) -> Option<&Labels> {
        self.objects.get(&number)
    }

    /// Every number and its labels.
    pub fn objects(&self) -> impl Iterator<Item = (u32, &Labels)> {
        self.objects.keys().copied().zip(self.objects.values())
    }

    /// How many numbers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.count()
    }

    /// Whether the API has told everything once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.objects.is_synced() && self.slices.is_synced()
    }

    /// The node is another one now.
    pub fn look_at_local_again(&mut self) {
        self.local_are_old = true;
    }

    /// Whether something was told of Pods since the last call.
    pub fn local_may_differ(&mut self) -> bool {
        std::mem::take(&mut self.local_are_old)
    }
}
