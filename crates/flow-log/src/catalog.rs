//! Which parts the log has. Readers take a copy of the list and are then on their own: nobody waits for anybody.

use crate::convert::convert;
use crate::frames::Span;
use crate::journal::{self, View};
use crate::segment::{self, Segment};
use crate::settings::Settings;
use crate::{Damage, Error, error::io};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The parts, by number: the order in which they were written.
#[derive(Debug, Default)]
pub struct Catalog {
    parts: Mutex<BTreeMap<u64, Part>>,
    /// Journals that could not be converted, and when that is tried again: nanoseconds since 1970.
    failed: Mutex<BTreeMap<u64, i64>>,
}

/// A part of the log.
#[derive(Clone, Debug)]
pub enum Part {
    /// Closed and converted.
    Segment(Arc<Segment>),
    /// Closed, not yet converted.
    Closed(View),
    /// Being written.
    Open(View),
    /// A segment that can't be opened; its length in bytes.
    Damaged(Damage, u64),
}

/// What [`Catalog::keep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Journals that became segments.
    pub converted: u64,
    /// Parts that went because they were too old or too many.
    pub removed: u64,
    /// Journals whose conversion has failed and is not tried again yet. They answer as they are.
    pub waiting: u64,
}

/// The log's files in a folder.
#[derive(Debug, Default)]
pub struct Files {
    /// Number and checksum.
    pub segments: Vec<(u64, u32)>,
    pub journals: Vec<u64>,
    pub drafts: Vec<String>,
    /// What is nobody's of ours.
    pub foreign: Vec<String>,
}

impl Catalog {
    /// The list now, oldest first.
    pub fn parts(&self) -> Vec<Part> {
        self.lock().values().cloned().collect()
    }

    pub fn put(&self, number: u64, part: Part) {
        self.lock().insert(number, part);
    }

    pub fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Converts what is closed and removes what is too old or too much. What can't be converted is tried again after a minute.
    ///
    /// # Errors
    /// The first of them; the rest is done nevertheless.
    pub fn keep(&self, settings: &Settings, now: i64) -> Result<Kept, Error> {
        let mut kept = Kept::default();
        let mut first_error = Ok(());
        let mut failed = std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner));
        let parts = self.parts();
        for view in parts.iter().filter_map(Part::closed) {
            if failed.get(&view.number).is_some_and(|again| now < *again) {
                kept.waiting += 1;
                continue;
            }
            failed.remove(&view.number);
            match self.convert(view, &settings.folder) {
                Ok(()) => kept.converted += 1,
                Err(error) => {
                    failed.insert(view.number, now.saturating_add(PAUSE));
                    first_error = first_error.and(Err(error));
                }
            }
        }
        failed.retain(|number, _| parts.iter().filter_map(Part::closed).any(|view| view.number == *number));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        let removed = self.retain(settings, now);
        kept.removed = removed.as_ref().copied().unwrap_or(0);
        first_error.and(removed.map(|_| ())).map(|()| kept)
    }

    fn convert(&self, view: &View, folder: &Path) -> Result<(), Error> {
        if !view.records.is_empty() {
            let path = convert(view, folder)?;
            let name = path.file_name().and_then(|name| name.to_str()).and_then(segment_name);
            let opened = name.map(|(number, crc)| Segment::open(path.clone(), number, crc));
            match opened {
                Some(Ok(segment)) => self.put(view.number, Part::Segment(Arc::new(segment))),
                // What was just written can't be read: the journal stays, so that nothing is lost.
                Some(Err(source)) => {
                    let _ = std::fs::remove_file(&path);
                    return Err(Error::Convert { path: view.path.clone(), source });
                }
                None => return Err(io("name", &path)(std::io::ErrorKind::InvalidFilename.into())),
            }
        } else {
            self.remove(view.number);
        }
        std::fs::remove_file(&view.path).map_err(io("remove", &view.path))
    }

    /// The oldest go while they are too old, or all together too large. The open one never goes. One that can't be removed
    /// stays, and keeps nobody else.
    fn retain(&self, settings: &Settings, now: i64) -> Result<u64, Error> {
        let parts = self.parts();
        let mut bytes: u64 = parts.iter().map(Part::bytes).sum();
        let oldest = i128::from(now) - settings.most_age.as_nanos() as i128;
        let (mut removed, mut first_error) = (0, Ok(()));
        for (at, part) in parts.iter().enumerate() {
            // What is damaged does not tell its age: it is older than what was written after it.
            let dated = parts[at..].iter().find(|part| !matches!(part, Part::Damaged(..)));
            let is_old = dated.is_some_and(|part| part.is_closed() && i128::from(part.span().last) < oldest);
            if !part.is_closed() || !is_old && bytes <= settings.most_bytes {
                break;
            }
            let (number, path) = part.place(&settings.folder);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    first_error = first_error.and(Err(io("remove", &path)(error)));
                }
                _ => {
                    bytes -= part.bytes();
                    self.remove(number);
                    removed += 1;
                }
            }
        }
        first_error.map(|()| removed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Its length on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.bytes,
            Self::Closed(view) | Self::Open(view) => view.bytes(),
            Self::Damaged(_, bytes) => *bytes,
        }
    }

    /// Flows and losses in it; of what is damaged nobody knows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.rows,
            Self::Closed(view) | Self::Open(view) => view.rows(),
            Self::Damaged(..) => 0,
        }
    }

    fn is_closed(&self) -> bool {
        !matches!(self, Self::Open(_))
    }

    fn closed(&self) -> Option<&View> {
        match self {
            Self::Closed(view) => Some(view),
            _ => None,
        }
    }

    /// Its number, and its file.
    pub(crate) fn place(&self, folder: &Path) -> (u64, PathBuf) {
        match self {
            Self::Segment(segment) => (segment.number, segment.path.clone()),
            Self::Closed(view) | Self::Open(view) => (view.number, view.path.clone()),
            Self::Damaged(damage, _) => {
                (segment_name(&damage.part).map_or(0, |(number, _)| number), folder.join(&damage.part))
            }
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Segment(segment) => segment.span,
            Self::Closed(view) | Self::Open(view) => view.span(),
            // As if it had everything: it goes by its place alone.
            Self::Damaged(..) => Span { first: i64::MIN, last: i64::MAX },
        }
    }
}

/// Opens a segment for the catalog.
pub fn open(folder: &Path, number: u64, crc: u32) -> Part {
    let path = segment::path(folder, number, crc);
    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    match Segment::open(path, number, crc) {
        Ok(segment) => Part::Segment(Arc::new(segment)),
        Err(damage) => Part::Damaged(damage, bytes),
    }
}

/// What is in the folder.
pub fn files(folder: &Path) -> Result<Files, Error> {
    let mut files = Files::default();
    for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
        let name = entry.map_err(io("list", folder))?.file_name().to_string_lossy().into_owned();
        let number = |end: &str| name.strip_suffix(end).filter(|digits| digits.len() == 12)?.parse::<u64>().ok();
        if let Some((number, crc)) = segment_name(&name) {
            files.segments.push((number, crc));
        } else if let Some(number) = number(".journal") {
            files.journals.push(number);
        } else if number(".tmp").is_some() {
            files.drafts.push(name);
        } else if name != LOCK {
            files.foreign.push(name);
        }
    }
    files.journals.sort_unstable();
    Ok(files)
}

/// A log for reading only, as it is now.
pub fn snapshot(folder: &Path) -> Result<Catalog, Error> {
    let mut tries = 0;
    loop {
        let files = files(folder)?;
        let catalog = Catalog::default();
        let opened = files.journals.iter().try_for_each(|number| {
            let view = View::open(folder, *number).map_err(|error| (*number, error))?;
            catalog.put(*number, Part::Closed(view));
            Ok(())
        });
        match opened {
            Ok(()) => {}
            // It has become a segment since the list was made, which does not have that yet.
            Err((_, error)) if error.kind() == std::io::ErrorKind::NotFound && tries < MOST_TRIES => {
                tries += 1;
                continue;
            }
            Err((number, error)) => return Err(io("read", &journal::path(folder, number))(error)),
        }
        for (number, crc) in files.segments {
            let part = open(folder, number, crc);
            // Its time was over since the list was made.
            if matches!(part, Part::Damaged(..)) && !segment::path(folder, number, crc).exists() {
                continue;
            }
            let is_better = !matches!(part, Part::Damaged(..)) || !catalog.lock().contains_key(&number);
            if is_better {
                catalog.put(number, part);
            }
        }
        return Ok(catalog);
    }
}

fn segment_name(name: &str) -> Option<(u64, u32)> {
    let (number, crc) = name.strip_suffix(".parquet")?.split_once('-')?;
    let is_whole = number.len() == 12 && crc.len() == 8;
    Some((number.parse().ok()?, u32::from_str_radix(crc, 16).ok().filter(|_| is_whole)?))
}

/// Held by whoever writes.
pub const LOCK: &str = "lock";

/// A disk that was full a moment ago is likely still full, and each try reads the whole journal: a minute, in nanoseconds.
const PAUSE: i64 = 60_000_000_000;

/// Each time, a journal was converted between two steps that take less than a millisecond.
const MOST_TRIES: u32 = 100;
