//! The endpoints on disk: one JSON file each, replaced by rename.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ipam::Owner;

use crate::{Endpoint, failure::StoreError};

#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let context = |source| StoreError { operation: "create directory", path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(context)?;
        Ok(Self { directory })
    }

    /// Writes an endpoint's record; the old one or the new one is there at any moment.
    pub(crate) fn save(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let path = self.path(&endpoint.owner());
        let temporary = path.with_added_extension("new");
        let context = |source| StoreError { operation: "write endpoint record", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(endpoint).map_err(|error| context(error.into()))?;
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            // No fsync: what a power cut takes from here, it took from the kernel's network as well, and the
            // addresses have a journal of their own.
            fs::rename(&temporary, &path)
        };
        write().map_err(context)
    }

    /// The record of `owner`. One that can't be read counts as absent: what it was about is found without it.
    pub(crate) fn load(&self, owner: &Owner) -> Option<Endpoint> {
        let endpoint: Endpoint = serde_json::from_slice(&fs::read(self.path(owner)).ok()?).ok()?;
        (endpoint.owner() == *owner).then_some(endpoint)
    }

    /// Removes the record of `owner`; nothing there is fine.
    pub(crate) fn delete(&self, owner: &Owner) -> Result<(), StoreError> {
        let path = self.path(owner);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError { operation: "remove endpoint record", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Owners of all records, readable or not. Half-written temporary files are removed on the way if `sweep`.
    pub(crate) fn owners(&self, sweep: bool) -> Result<Vec<Owner>, StoreError> {
        let context =
            |source| StoreError { operation: "list endpoint records in", path: self.directory.clone(), source };
        let mut owners = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(context)? {
            let path = entry.map_err(context)?.path();
            match owner_of(&path) {
                Some(owner) => owners.push(owner),
                None if sweep && path.extension().is_some_and(|extension| extension == "new") => {
                    let _ = fs::remove_file(&path); // the next start tries again
                }
                None => {}
            }
        }
        Ok(owners)
    }

    /// `@` is in no container id, so that the first one separates.
    fn path(&self, owner: &Owner) -> PathBuf {
        self.directory.join(format!("{}@{}.json", owner.container_id, owner.ifname))
    }
}

fn owner_of(path: &Path) -> Option<Owner> {
    let (container_id, ifname) = path.file_name()?.to_str()?.strip_suffix(".json")?.split_once('@')?;
    let valid = cni_protocol::is_container_id(container_id) && cni_protocol::is_interface_name(ifname);
    valid.then(|| Owner { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_torn_ones_are_still_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("endpoints")).unwrap();
        let owner = |id: &str| Owner { container_id: id.into(), ifname: "e@0".into() };
        let endpoint = Endpoint::bare(&owner("a.b"), "malla", vec!["10.0.0.2".parse().unwrap()]);
        store.save(&endpoint).unwrap();
        assert_eq!(store.load(&owner("a.b")), Some(endpoint));
        let directory = dir.path().join("endpoints");
        fs::write(directory.join("torn@e@0.json"), "{\"contai").unwrap();
        fs::write(directory.join("x@eth0.json.new"), "{").unwrap();
        fs::write(directory.join("README"), "").unwrap();
        assert_eq!(store.load(&owner("torn")), None);
        let mut owners = store.owners(true).unwrap();
        owners.sort();
        assert_eq!(owners, [owner("a.b"), owner("torn")]);
        assert!(!directory.join("x@eth0.json.new").exists());
        store.delete(&owner("torn")).unwrap();
        store.delete(&owner("torn")).unwrap();
        assert_eq!(store.owners(false).unwrap(), [owner("a.b")]);
    }
}
