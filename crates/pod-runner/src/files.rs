//! The runner's files: where what is kept, and writing without half-written states.
//!
//! ```text
//! <pods>/<uid>/sandbox.json            who the Pod is, its CNI attachment and result
//!             /netns                   its network namespace
//!             /etc/hosts resolv.conf hostname
//!             /<container>/<attempt>/  config.json, running.json, ready, exit.json, lock, shim.log
//!             /<container>/<attempt>.log   and .log.1: what it wrote
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// The folder of one Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDir(pub PathBuf);

/// The folder of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptDir(pub PathBuf);

impl PodDir {
    /// The folder of the Pod `uid` under the lab's `<pods>`.
    #[must_use]
    pub fn new(pods: &Path, uid: &str) -> Self {
        Self(pods.join(uid))
    }

    #[must_use]
    pub fn sandbox(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    #[must_use]
    pub fn netns(&self) -> PathBuf {
        self.0.join("netns")
    }

    /// Files that the Pod's containers see in their `/etc`, and nothing else.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.0.join("etc")
    }

    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.etc().join("hosts")
    }

    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.etc().join("resolv.conf")
    }

    #[must_use]
    pub fn hostname(&self) -> PathBuf {
        self.etc().join("hostname")
    }

    #[must_use]
    pub fn container(&self, name: &str) -> PathBuf {
        self.0.join("containers").join(name)
    }

    #[must_use]
    pub fn attempt(&self, container: &str, number: u32) -> AttemptDir {
        AttemptDir(self.container(container).join(number.to_string()))
    }

    /// The log of one run; the ones before a rotation carry `.1` behind it.
    #[must_use]
    pub fn log(&self, container: &str, number: u32) -> PathBuf {
        self.container(container).join(format!("{number}.log"))
    }

    /// Numbers of the runs of `container` that are on disk, ascending.
    #[must_use]
    pub fn attempts(&self, container: &str) -> Vec<u32> {
        let mut numbers: Vec<u32> = entries(&self.container(container))
            .filter(|path| path.is_dir())
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Names of all containers that were ever prepared in this Pod.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        let mut names: Vec<String> = entries(&self.0.join("containers"))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }
}

impl AttemptDir {
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.0.join("running.json")
    }

    #[must_use]
    pub fn ready(&self) -> PathBuf {
        self.0.join("ready")
    }

    #[must_use]
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// Locked by the shim for as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    #[must_use]
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }
}

/// The entries of a folder; none when it is not there.
pub fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// Replaces the file in one step: a reader sees the old or the new content, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

/// [`write_atomically`] of JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_atomically(path, &serde_json::to_vec_pretty(value)?)
}

/// Reads JSON; `None` when the file is not there.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
