//! What closing TCP sockets knew, read as memory: the kernel's table is mapped, and asking it costs no call.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::ptr::NonNull;

use datapath_layouts::tcp::PLACES;
use datapath_layouts::{TcpEnd, TcpEndKey, TcpEndPlace, maps as info};
use datapath_logic::tcp_end::{open, place};

use crate::error::Error;
use crate::maps::{Map, Usage};

/// The table, for as long as this lives.
pub struct TcpEnds {
    map: Map<u32, TcpEndPlace>,
    places: NonNull<TcpEndPlace>,
}

// SAFETY: the memory is the kernel's and only read, by volatile loads, from wherever; it is unmapped at the end of the one owner.
unsafe impl Send for TcpEnds {}
// SAFETY: as above.
unsafe impl Sync for TcpEnds {}

const BYTES: usize = PLACES as usize * size_of::<TcpEndPlace>();

impl TcpEnds {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let map = Map::<u32, TcpEndPlace>::open(directory, info::TCP_ENDS)?;
        // SAFETY: a new mapping of a file of at least this length (a whole number of pages, which the adoption of its shape has
        // checked), to no wanted address.
        let memory = unsafe {
            libc::mmap(std::ptr::null_mut(), BYTES, libc::PROT_READ, libc::MAP_SHARED, map.as_fd().as_raw_fd(), 0)
        };
        let failed = || Error::kernel("map into memory", info::TCP_ENDS.name, std::io::Error::last_os_error());
        if memory == libc::MAP_FAILED {
            return Err(failed());
        }
        let places = NonNull::new(memory.cast()).ok_or_else(failed)?;
        Ok(Self { map, places })
    }

    /// What this end knew; `None`: it has not closed, is of another node, or somebody has taken its place since.
    #[must_use]
    pub fn get(&self, key: &TcpEndKey) -> Option<TcpEnd> {
        // SAFETY: `place` is below `PLACES`, all of which are mapped and aligned. Programs may write meanwhile, hence volatile; what
        // is torn by that has no valid seal.
        let look = || unsafe { self.places.add(place(key) as usize).read_volatile() };
        let seen = look();
        if seen.key != *key {
            return None;
        }
        // Who was seen while it wrote is done by the next look.
        open(&seen, key).or_else(|| open(&look(), key))
    }

    /// What the map is and costs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.map.usage()
    }
}

impl Drop for TcpEnds {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, of this length, and nobody else has it.
        unsafe { libc::munmap(self.places.as_ptr().cast(), BYTES) };
    }
}
