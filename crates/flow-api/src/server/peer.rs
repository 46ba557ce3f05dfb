//! `peer.Peer`: which nodes there are, and which come and go.

use super::Node;
use crate::peer::peer_server::Peer as PeerService;
use crate::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, Tls};
use futures::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `10.0.0.1:4244`.
    pub address: String,
    /// The name in its certificate; `None`: it speaks without TLS.
    pub tls_server_name: Option<String>,
}

/// The nodes of the cluster, by name.
pub type Peers = BTreeMap<String, Peer>;

/// Tells about one node's cluster.
#[derive(Clone, Debug)]
pub struct Service(pub Arc<Node>);

#[tonic::async_trait]
impl PeerService for Service {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<ChangeNotification, Status>> + Send>>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        // A slow client skips what lies between: it is told the difference to what it knows.
        let mut peers = self.0.peers.subscribe();
        peers.mark_changed();
        let (known, told) = (Peers::new(), VecDeque::new());
        let stream = futures::stream::unfold((peers, known, told), |(mut peers, mut known, mut told)| async move {
            loop {
                if let Some(change) = told.pop_front() {
                    return Some((Ok(change), (peers, known, told)));
                }
                peers.changed().await.ok()?;
                // Nothing is told before it is known: an empty list would say that there is no node.
                let Some(now) = peers.borrow_and_update().clone() else { continue };
                told = changes(&known, &now).into();
                known = now;
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// What makes `before` into `after`: first who left, then who is new or elsewhere.
fn changes(before: &Peers, after: &Peers) -> Vec<ChangeNotification> {
    let tell = |name: &String, peer: &Peer, kind: ChangeNotificationType| ChangeNotification {
        name: name.clone(),
        address: peer.address.clone(),
        r#type: kind as i32,
        tls: peer.tls_server_name.clone().map(|server_name| Tls { server_name }),
    };
    let left = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let left = left.map(|(name, peer)| tell(name, peer, ChangeNotificationType::PeerDeleted));
    let there = after.iter().filter_map(|(name, peer)| match before.get(name) {
        None => Some(tell(name, peer, ChangeNotificationType::PeerAdded)),
        Some(known) if known != peer => Some(tell(name, peer, ChangeNotificationType::PeerUpdated)),
        Some(_) => None,
    });
    left.chain(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peers() -> impl Strategy<Value = Peers> {
        let peer =
            ("[12]", proptest::option::of("[ab]")).prop_map(|(address, tls)| Peer { address, tls_server_name: tls });
        proptest::collection::btree_map("[a-d]", peer, 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        /// Whoever does what it is told ends with what is there, and is told nothing needless.
        #[test]
        fn changes_lead_from_one_to_the_other(before in peers(), after in peers()) {
            let mut known = before.clone();
            for change in changes(&before, &after) {
                let peer = Peer { address: change.address.clone(), tls_server_name: change.tls.clone().map(|t| t.server_name) };
                let was = match change.r#type() {
                    ChangeNotificationType::PeerDeleted => known.remove(&change.name),
                    _ => known.insert(change.name.clone(), peer.clone()),
                };
                prop_assert_eq!(was.is_some(), change.r#type() != ChangeNotificationType::PeerAdded);
                prop_assert!(change.r#type() != ChangeNotificationType::PeerUpdated || was != Some(peer));
            }
            prop_assert_eq!(known, after);
        }
    }
}
