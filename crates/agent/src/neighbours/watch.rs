//! Listens to the kernel, and tells when a neighbour is found or has another device. That entries age and are asked for
//! again is no news.

use netlink::{MacAddress, Neighbour, NeighbourWatch};
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
            Ok(Some(told)) => is_news(&mut known, told.into_iter().filter(|neighbour| neighbour.interface == device)),
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

/// Whether somebody was found, or has another device than before. Who was lost is news once found again: its entry may have
/// been made anew meanwhile.
fn is_news(known: &mut HashMap<IpAddr, MacAddress>, told: impl Iterator<Item = Neighbour>) -> bool {
    let mut news = false;
    for neighbour in told {
        match neighbour.mac.filter(|_| neighbour.valid) {
            Some(mac) => news |= known.insert(neighbour.address, mac) != Some(mac),
            None => drop(known.remove(&neighbour.address)),
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_found_again_is_news_and_who_is_asked_again_is_none() {
        let one = |valid, last| Neighbour {
            interface: 2,
            address: [10, 0, 0, 1].into(),
            mac: Some(MacAddress([2, 0, 0, 0, 0, last])),
            valid,
            permanent: false,
            managed: true,
        };
        let mut known = HashMap::new();
        let mut told = |neighbour| is_news(&mut known, std::iter::once(neighbour));
        assert!(told(one(true, 1)), "found");
        assert!(!told(one(true, 1)), "asked again");
        assert!(told(one(true, 2)), "another device");
        assert!(!told(one(false, 2)), "lost, or forgotten");
        assert!(told(one(true, 2)), "found again");
    }
}
