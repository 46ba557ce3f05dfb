//! Whose packets the programs tell one by one. The programs look it up; none is replaced for it.

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
        write!(f, "{},{}", if self.protocol == 17 { "udp" } else { "tcp" }, self.address)
    }
}

/// Keeps the map at what its followers want. The only writer of that map.
pub struct Followers {
    table: Box<dyn Table<u32, Followed>>,
    ends: Mutex<Vec<End>>,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").field("ends", &*self.lock()).finish_non_exhaustive()
    }
}

/// One end that is followed until this is dropped.
pub struct Following {
    followers: Arc<Followers>,
    end: End,
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
        Ok(Self { table, ends: Mutex::default() })
    }

    /// Follows an end from now on.
    ///
    /// # Errors
    /// When there is no room, or the map can't be written.
    pub fn follow(self: &Arc<Self>, end: End) -> Result<Following, FollowError> {
        let mut ends = self.lock();
        if ends.len() >= FOLLOWED_ENDS {
            return Err(FollowError::Full);
        }
        ends.push(end);
        if let Err(error) = self.write(&ends) {
            ends.pop();
            return Err(error.into());
        }
        drop(ends);
        Ok(Following { followers: self.clone(), end })
    }

    fn write(&self, ends: &[End]) -> Result<(), TableError> {
        let kernel = |end: &End| FollowedEnd::new(Address::from_ip(end.address.ip()), end.address.port(), end.protocol);
        self.table.insert(&0, &Followed::of(&ends.iter().map(kernel).collect::<Vec<_>>()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut ends = self.followers.lock();
        if let Some(at) = ends.iter().position(|end| *end == self.end) {
            ends.swap_remove(at);
        }
        if let Err(error) = self.followers.write(&ends) {
            tracing::error!("{} is followed although nobody does any more: {}", self.end, crate::error::chain(&error));
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
        let held = |port| table.get(&0).unwrap().unwrap().holds(&Address::from_v4([10, 0, 0, 1]), port, 6);
        assert_eq!(table.get(&0).unwrap(), Some(Followed::ZERO), "what a dead agent left is gone");
        let end = |port: u16| format!("tcp,10.0.0.1:{port}").parse::<End>().unwrap();
        let (one, two) = (followers.follow(end(1)).unwrap(), followers.follow(end(2)).unwrap());
        assert!(held(1) && held(2));
        drop(one);
        assert!(!held(1) && held(2));
        let all: Vec<_> = (3..=17).map(|port| followers.follow(end(port)).unwrap()).collect();
        assert!(matches!(followers.follow(end(99)), Err(FollowError::Full)));
        drop((two, all));
        assert_eq!(table.get(&0).unwrap(), Some(Followed::ZERO));
    }

    #[test]
    fn ends_are_read_as_they_are_written() {
        for text in ["tcp,172.18.0.1:40000", "udp,[fd00::1]:53"] {
            assert_eq!(text.parse::<End>().unwrap().to_string(), text);
        }
        assert!("icmp,1.2.3.4:5".parse::<End>().is_err() && "tcp,1.2.3.4".parse::<End>().is_err());
    }
}
