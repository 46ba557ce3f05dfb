//! The reading end of the ring.

use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};
use datapath_layouts::{Event, maps as info};
use zerocopy::FromBytes;

use crate::error::Error;
use crate::maps::pin_path;

/// Takes events out of the ring, by polling: the programs wake nobody.
pub struct EventReader {
    ring: RingBuf<MapData>,
}

impl EventReader {
    /// Opens the ring pinned below a datapath's folder.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open_in(directory: &Path) -> Result<Self, Error> {
        Self::open(directory)
    }

    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let wrong = |e: String| Error::Map { name: info::EVENTS.name.to_owned(), what: e };
        let data = MapData::from_pin(pin_path(directory, info::EVENTS)).map_err(|e| wrong(e.to_string()))?;
        let map = Map::from_map_data(data).map_err(|e| wrong(e.to_string()))?;
        let ring = RingBuf::try_from(map).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { ring })
    }

    /// Gives every waiting event to `take`; how many there were. A record of another size (an older program's) is
    /// passed over.
    pub fn drain(&mut self, mut take: impl FnMut(&Event)) -> usize {
        let mut count = 0;
        while let Some(item) = self.ring.next() {
            if let Ok(event) = Event::read_from_bytes(&item) {
                take(&event);
                count += 1;
            }
        }
        count
    }
}
