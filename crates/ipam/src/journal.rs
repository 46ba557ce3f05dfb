//! The journal file: appended to and synced record by record, replaced by a compacted one now and then.
//!
//! A crash can leave half a record at the very end: it was never acknowledged, so it is cut off. A damaged record
//! with whole ones behind it is something else (a failing disk, somebody's editor) and is refused: guessing would
//! give an address twice.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    allocator::Allocator,
    record::{Record, snapshot},
};

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("{operation} IPAM journal {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("IPAM journal {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("IPAM journal {} is damaged in line {line}, with whole records behind it", path.display())]
    Damaged { path: PathBuf, line: usize },
    #[error("IPAM journal {}: an earlier write failed and could not be undone; restart to read it again", path.display())]
    Poisoned { path: PathBuf },
    #[error("encode a record for IPAM journal {}", path.display())]
    Encode {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Length of what is whole and synced.
    length: u64,
    records: usize,
    poisoned: bool,
    /// Held as long as this value lives: two writers would give one address twice.
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal, applies its records to `allocator`, cuts off a torn tail.
    pub(crate) fn open(path: &Path, allocator: &mut Allocator) -> Result<Self, JournalError> {
        let context = |operation| move |source| JournalError::Io { operation, path: path.into(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(context("create the directory of"))?;
        }
        let lock = lock(path)?;
        let mut file = create(path, false).map_err(context("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(context("read"))?;
        let (length, records) =
            replay(&bytes, allocator).map_err(|line| JournalError::Damaged { path: path.into(), line })?;
        if length < bytes.len() as u64 {
            file.set_len(length).map_err(context("cut the torn tail of"))?;
            file.sync_all().map_err(context("sync"))?;
        }
        file.seek(SeekFrom::Start(length)).map_err(context("seek in"))?;
        sync_directory(path).map_err(context("sync the directory of"))?;
        Ok(Self { path: path.into(), file, length, records, poisoned: false, _lock: lock })
    }

    /// Appends a record; when this returns, it is on disk. When it fails, it is not.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let line = record.encode().map_err(|source| JournalError::Encode { path: self.path.clone(), source })?;
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half of it may be there, or all of it but not synced: take it away, or trust nothing any more.
            let undone = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
            let undone = undone.and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            self.poisoned = undone.is_err();
            return Err(JournalError::Io { operation: "append to", path: self.path.clone(), source });
        }
        self.length += line.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Writes the journal anew if most of it is history. The old one stays until the new one is whole and synced.
    pub(crate) fn compact_if_due(&mut self, allocator: &Allocator) -> Result<(), JournalError> {
        let alive = allocator.owners().count() + allocator.resting().count();
        if self.records < COMPACT_FROM || self.records < alive * 4 { Ok(()) } else { self.compact(allocator) }
    }

    pub(crate) fn compact(&mut self, allocator: &Allocator) -> Result<(), JournalError> {
        let path = &self.path;
        let context = |operation| move |source| JournalError::Io { operation, path: path.clone(), source };
        let records = snapshot(allocator);
        let mut text = String::new();
        for record in &records {
            text += &record.encode().map_err(|source| JournalError::Encode { path: path.clone(), source })?;
        }
        let temporary = sibling(path, ".new");
        let mut file = create(&temporary, true).map_err(context("write a compacted"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(context("write a compacted"))?;
        fs::rename(&temporary, path).map_err(context("replace"))?;
        // From here on the new file is the journal, synced directory or not: both hold the same state.
        self.file = file;
        self.length = text.len() as u64;
        self.records = records.len();
        sync_directory(path).map_err(context("sync the directory of"))
    }
}

/// Applies whole records; returns the length they take and their number, or the line of a damaged one.
fn replay(bytes: &[u8], allocator: &mut Allocator) -> Result<(u64, usize), usize> {
    let (mut length, mut records, mut damaged) = (0, 0, None);
    for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match line.strip_suffix(b"\n").and_then(Record::decode) {
            Some(_) if damaged.is_some() => break,
            Some(record) => {
                record.apply(allocator);
                length += line.len() as u64;
                records += 1;
                continue;
            }
            None => damaged = damaged.or(Some(i + 1)),
        }
    }
    match damaged {
        // Whole records behind a damaged one: its line did not come from a torn write.
        Some(line) if bytes.split(|byte| *byte == b'\n').skip(line).any(|l| Record::decode(l).is_some()) => Err(line),
        _ => Ok((length, records)),
    }
}

fn create(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// The lock has a file of its own, as the journal's is replaced when it is compacted.
fn lock(path: &Path) -> Result<File, JournalError> {
    let context = |source| JournalError::Io { operation: "lock", path: path.into(), source };
    let file = create(&sibling(path, ".lock"), false).map_err(context)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.into() }),
        Err(fs::TryLockError::Error(source)) => Err(context(source)),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Below this many records compaction saves nothing worth a rename.
const COMPACT_FROM: usize = 1000;
