//! Whose packets the programs tell one by one. The programs look it up; none is replaced for it.

use super::record::Party;
use crate::table::{Table, TableError};
use datapath_layouts::tracing::FOLLOWED_ENDS;
use datapath_layouts::{Address, Followed, FollowedEnd};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// One end of the flows that are followed, as `tcp,172.18.0.1:40000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// Address and port.
    pub address: SocketAddr,
    /// IP protocol number: TCP's or UDP's.
    pub protocol: u8,
}

impl End {
    /// Whether this end of a flow of that protocol is it.
    #[must_use]
    pub fn is(&self, party: &Party, protocol: &str) -> bool {
        self.address == party.socket() && self.protocol_name().eq_ignore_ascii_case(protocol)
    }

    const fn protocol_name(&self) -> &'static str {
        if self.protocol == 17 { "udp" } else { "tcp" }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = text.split_once(',').unwrap_or(("tcp", text));
        let protocol = match protocol {
            "tcp" => 6,
            "udp" => 17,
            other => return Err(format!("{other:?} is neither tcp nor udp")),
        };
        let address = address.parse().map_err(|_| format!("{address:?} is no address with a port"))?;
        Ok(Self { address, protocol })
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.protocol_name(), self.address)
    }
}

/// Keeps the map at what its followers want. The only writer of that map.
pub struct Followers {
    table: Box<dyn Table<u32, Followed>>,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    ends: [Option<End>; FOLLOWED_ENDS],
    /// Where the search for an empty place begins: behind the last that was given, so that events in the ring that still
    /// bear a place's bit find it empty rather than somebody else's.
    next: usize,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").field("places", &*self.lock()).finish_non_exhaustive()
    }
}

/// One end that is followed until this is dropped.
pub struct Following {
    followers: Arc<Followers>,
    place: usize,
}

/// Why somebody can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// As many as there is room for are followed already.
    #[error("{FOLLOWED_ENDS} ends are followed on this node already")]
    Full,
    /// The map can't be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Followers {
    /// Nobody follows yet; what an earlier agent left behind is cleared.
    ///
    /// # Errors
    /// When the map can't be written.
    pub fn new(table: Box<dyn Table<u32, Followed>>) -> Result<Self, TableError> {
        table.insert(&0, &Followed::ZERO)?;
        Ok(Self { table, places: Mutex::default() })
    }

    /// Follows an end from now on.
    ///
    /// # Errors
    /// When there is no room, or the map can't be written.
    pub fn follow(self: &Arc<Self>, end: End) -> Result<Following, FollowError> {
        let mut places = self.lock();
        let from_next = (0..FOLLOWED_ENDS).map(|at| (places.next + at) % FOLLOWED_ENDS);
        let place = from_next.into_iter().find(|at| places.ends[*at].is_none()).ok_or(FollowError::Full)?;
        places.ends[place] = Some(end);
        if let Err(error) = self.write(&places.ends) {
            places.ends[place] = None;
            return Err(error.into());
        }
        places.next = place + 1;
        drop(places);
        Ok(Following { followers: self.clone(), place })
    }

    fn write(&self, ends: &[Option<End>; FOLLOWED_ENDS]) -> Result<(), TableError> {
        let kernel = |end: End| FollowedEnd::new(Address::from_ip(end.address.ip()), end.address.port(), end.protocol);
        self.table.insert(&0, &Followed::of(&ends.map(|end| end.map_or(FollowedEnd::ZERO, kernel))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Following {
    /// The bit that programs set in what they tell of this end, as in [`Followed::places`].
    #[must_use]
    pub const fn bit(&self) -> u16 {
        1 << self.place
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut places = self.followers.lock();
        let end = places.ends[self.place].take();
        if let (Err(error), Some(end)) = (self.followers.write(&places.ends), end) {
            tracing::error!("{end} is followed although nobody does any more: {}", crate::error::chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::memory::MemoryTable;

    #[test]
    fn the_map_holds_who_is_followed_and_nobody_after_that() {
        let table = Arc::new(MemoryTable::<u32, Followed>::with_capacity(1));
        table.insert(&0, &Followed::of(&[FollowedEnd::new(Address::V4_ANY, 1, 6)])).unwrap();
        let followers = Arc::new(Followers::new(Box::new(table.clone())).unwrap());
        let places = |port| table.get(&0).unwrap().unwrap().places(&Address::from_v4([10, 0, 0, 1]), port, 6);
        assert_eq!(table.get(&0).unwrap(), Some(Followed::ZERO), "what a dead agent left is gone");
        let end = |port: u16| format!("tcp,10.0.0.1:{port}").parse::<End>().unwrap();
        let (one, two) = (followers.follow(end(1)).unwrap(), followers.follow(end(2)).unwrap());
        assert_eq!((places(1), places(2)), (one.bit(), two.bit()));
        drop(one);
        assert_eq!((places(1), places(2)), (0, two.bit()), "who stays keeps its place");
        let all: Vec<_> = (3..=17).map(|port| followers.follow(end(port)).unwrap()).collect();
        assert!(matches!(followers.follow(end(99)), Err(FollowError::Full)));
        let mut bits: Vec<u16> = all.iter().chain([&two]).map(Following::bit).collect();
        bits.sort_unstable();
        assert_eq!(bits, (0..16).map(|at| 1 << at).collect::<Vec<u16>>(), "each its own");
        drop((two, all));
        assert_eq!(table.get(&0).unwrap(), Some(Followed::ZERO));
    }

    #[test]
    fn a_place_that_was_just_left_is_the_last_to_be_given() {
        let followers = Arc::new(Followers::new(Box::new(MemoryTable::with_capacity(1))).unwrap());
        let end: End = "tcp,10.0.0.1:1".parse().unwrap();
        let one = followers.follow(end).unwrap().bit();
        assert_ne!(followers.follow(end).unwrap().bit(), one, "its events may still be in the ring");
    }

    #[test]
    fn ends_are_read_as_they_are_written() {
        for text in ["tcp,172.18.0.1:40000", "udp,[fd00::1]:53"] {
            assert_eq!(text.parse::<End>().unwrap().to_string(), text);
        }
        assert!("icmp,1.2.3.4:5".parse::<End>().is_err() && "tcp,1.2.3.4".parse::<End>().is_err());
    }
}
