//! The log without threads and clock: whoever calls says when it is.

use crate::catalog::{self, Catalog, Kept, LOCK, Part};
use crate::frames::Frames;
use crate::journal::Journal;
use crate::settings::Settings;
use crate::{Error, error::io};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::sync::Arc;

/// The log, for the one who writes.
pub struct Store {
    settings: Settings,
    catalog: Arc<Catalog>,
    journal: Journal,
    /// When the open journal got its first record.
    born: i64,
    _lock: File,
}

/// What was found when the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Flows and losses that were found.
    pub rows: u64,
    /// Bytes after the last good record of a journal, cut: a crash came in the middle of writing them.
    pub cut: u64,
    /// Segments that can't be opened.
    pub damaged: u64,
}

impl Store {
    /// Opens the log, or makes it. Times are nanoseconds since 1970.
    ///
    /// # Errors
    /// Another writer has it; the folder is not a log's; the file system.
    pub fn open(settings: Settings, now: i64) -> Result<(Self, Recovery), Error> {
        let folder = &settings.folder;
        if !folder.exists() {
            DirBuilder::new().mode(0o700).create(folder).map_err(io("make", folder))?;
        }
        let mut files = catalog::files(folder)?;
        let lock = folder.join(LOCK);
        if let (false, Some(foreign)) = (lock.exists(), files.foreign.pop()) {
            return Err(Error::Foreign { folder: folder.clone(), foreign });
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(io("protect", folder))?;
        let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let held = held.map_err(io("open", &lock))?;
        held.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Locked(folder.clone()),
            TryLockError::Error(error) => io("lock", &lock)(error),
        })?;
        // What was there before we had it to ourselves may have changed.
        let files = catalog::files(folder)?;
        for draft in files.drafts {
            let path = folder.join(draft);
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
        }
        let (catalog, mut recovery) = (Arc::new(Catalog::default()), Recovery::default());
        for (number, crc) in files.segments {
            match catalog::open(folder, number, crc) {
                // Its journal still has all that was in it.
                Part::Damaged(damage, _) if files.journals.contains(&number) => {
                    let path = folder.join(damage.part);
                    std::fs::remove_file(&path).map_err(io("remove", &path))?;
                }
                part => catalog.put(number, part),
            }
        }
        let mut last = None;
        for number in files.journals {
            let path = crate::journal::path(folder, number);
            let is_converted =
                catalog.parts().iter().any(|part| matches!(part, Part::Segment(s) if s.number == number));
            if is_converted {
                // The crash came between the segment's last step and this one.
                std::fs::remove_file(&path).map_err(io("remove", &path))?;
                continue;
            }
            let (journal, cut) = Journal::recover(folder, number)?;
            recovery.cut += cut;
            catalog.put(number, Part::Closed(journal.view()));
            last = Some(journal);
        }
        let newest = catalog.parts().last().map_or(0, |part| part.place(folder).0);
        let journal = match last.filter(|journal| journal.view().number == newest) {
            Some(journal) => journal,
            None => Journal::create(folder, newest + 1)?,
        };
        catalog.put(journal.view().number, Part::Open(journal.view()));
        for part in catalog.parts() {
            recovery.rows += part.rows();
            recovery.damaged += u64::from(matches!(part, Part::Damaged(..)));
        }
        Ok((Self { settings, catalog, journal, born: now, _lock: held }, recovery))
    }

    /// Writes flows; they are on the disk after the next [`Store::sync`].
    ///
    /// # Errors
    /// The file system. Nothing of them is in the log then.
    pub fn append(&mut self, frames: &Frames, now: i64) -> Result<(), Error> {
        if frames.rows == 0 {
            return Ok(());
        }
        self.close_if_due(now)?;
        if self.journal.rows() == 0 {
            self.born = now;
        }
        self.journal.append(frames)?;
        let view = self.journal.view();
        self.catalog.put(view.number, Part::Open(view));
        Ok(())
    }

    /// Closes the journal if it is full or old enough. `true`: there is something to convert.
    ///
    /// # Errors
    /// The file system; the journal is still the same then.
    pub fn close_if_due(&mut self, now: i64) -> Result<bool, Error> {
        let rows = self.journal.rows();
        let age = i128::from(now) - i128::from(self.born);
        let is_full =
            rows >= u64::from(self.settings.segment_flows) || self.journal.view().records.len() >= MOST_RECORDS;
        let is_due = rows > 0 && (is_full || age >= self.settings.segment_age.as_nanos() as i128);
        if is_due {
            self.close()?;
        }
        Ok(is_due)
    }

    /// Closes the journal, whatever is in it, and begins the next.
    ///
    /// # Errors
    /// The file system; the journal is still the same then.
    pub fn close(&mut self) -> Result<(), Error> {
        self.journal.sync()?;
        let closed = self.journal.view();
        let next = Journal::create(&self.settings.folder, closed.number + 1)?;
        self.catalog.put(next.view().number, Part::Open(next.view()));
        self.catalog.put(closed.number, Part::Closed(closed));
        self.journal = next;
        Ok(())
    }

    /// What was appended before is on the disk when this returns. `false`: it was already, and the disk was left alone.
    ///
    /// # Errors
    /// The file system.
    pub fn sync(&mut self) -> Result<bool, Error> {
        self.journal.sync()
    }

    /// Converts closed journals and removes what is too old or too much.
    ///
    /// # Errors
    /// The file system.
    pub fn keep(&self, now: i64) -> Result<Kept, Error> {
        self.catalog.keep(&self.settings, now)
    }

    /// The same with other bounds, which an operator may change while it runs.
    ///
    /// # Errors
    /// The file system.
    pub fn keep_with(&self, settings: &Settings, now: i64) -> Result<Kept, Error> {
        self.catalog.keep(settings, now)
    }

    /// Bytes of the open journal's file.
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    /// For reading.
    #[must_use]
    pub fn reader(&self) -> crate::Reader {
        crate::Reader::new(self.catalog())
    }
}

/// Of one journal: readers copy the list of them. At one a second, an hour has 3,600.
const MOST_RECORDS: usize = 4096;
