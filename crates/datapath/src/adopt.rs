//! Recognising one's own state: a pinned map is adopted only when its shape is the one this object needs.

use std::os::fd::AsFd;
use std::path::Path;

use datapath_layouts::maps::MapInfo;

use crate::error::Error;
use crate::maps::pin_path;
use crate::sys::{self, MapShape};

/// What a start found, took over, made anew, or had to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Maps with what they held.
    pub maps_adopted: Vec<String>,
    /// Maps that were not there.
    pub maps_created: Vec<String>,
    /// Links whose program was replaced in place.
    pub links_adopted: Vec<String>,
    /// Links that were not there.
    pub links_created: Vec<String>,
    /// What was there and could not be taken over, and why.
    pub not_adopted: Vec<(String, String)>,
}

/// Looks at one pin before the loader does: the loader would take any map it finds there.
///
/// # Errors
/// When the pin can't be read or moved away.
pub(crate) fn check_map(directory: &Path, info: MapInfo, want: MapShape, into: &mut Adoption) -> Result<(), Error> {
    let path = pin_path(directory, info);
    let name = format!("{}_v{}", info.name, info.version);
    let fd = match sys::open_pin(&path) {
        Ok(fd) => fd,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            into.maps_created.push(name);
            return Ok(());
        }
        Err(source) => return Err(Error::File { operation: "open pinned map", path, source }),
    };
    let have = sys::map_shape(fd.as_fd()).map_err(|e| Error::kernel("ask the shape of map", info.name, e))?;
    if have == want {
        into.maps_adopted.push(name);
        return Ok(());
    }
    // Another size is a wish of the configuration; another key or value would be a forgotten version. Either way the
    // old map can't serve the new programs: it is put aside, the new one starts empty, and the status says so.
    std::fs::remove_file(&path).map_err(|source| Error::File { operation: "unpin", path, source })?;
    into.not_adopted.push((name.clone(), format!("its shape is {have:?}, the programs need {want:?}")));
    into.maps_created.push(name);
    Ok(())
}
