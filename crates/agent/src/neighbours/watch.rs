//! Listens to the kernel, and tells when a neighbour is found or has another device. That entries age and are asked for
//! again is no news.

use netlink::{MacAddress, NeighbourWatch};
use std::collections::HashMap;
use std::net::IpAddr;
use tokio::sync::Notify;

/// More entries than a kernel keeps by itself (`gc_thresh3` is 1024): whoever makes so many is not worth remembering.
const MOST: usize = 65_536;

/// Runs as long as the process lives, or until the kernel tells nothing any more; what comes after is seen by the ticks.
pub fn watch(mut watch: NeighbourWatch, device: u32, changed: &Notify) {
    let mut known: HashMap<IpAddr, MacAddress> = HashMap::new();
    loop {
        let news = match watch.wait() {
            Ok(Some(told)) => told
                .into_iter()
                .filter(|neighbour| neighbour.interface == device && neighbour.valid)
                .filter_map(|neighbour| Some((neighbour.address, neighbour.mac?)))
                .fold(false, |news, (address, mac)| known.insert(address, mac) != Some(mac) || news),
            Ok(None) => {
                known.clear();
                true
            }
            Err(error) => {
                tracing::error!("listening to neighbours: {error}");
                return;
            }
        };
        if known.len() > MOST {
            known.clear();
        }
        if news {
            changed.notify_one();
        }
    }
}
