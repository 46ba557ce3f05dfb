//! The newest flows, as they come: a file of records, each with a checksum, that a crash can only shorten.
//!
//! ```text
//! "malflow1"  record  record  …
//! record: length of the payload u32 · CRC-32 of all that follows u32 · rows u32 · flows u32 · plain length u32 · 0 u32
//!         · oldest time i64 · newest time i64 · payload: frames, compressed by zstd           (little-endian)
//! ```

use crate::frames::{Frames, Span};
use crate::{Damage, Error, error::io, error::sync_folder};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a record is, and what of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    offset: u64,
    length: u32,
    plain: u32,
    pub rows: u32,
    pub flows: u32,
    pub span: Span,
}

/// A journal for reading: what was in it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub number: u64,
    pub path: PathBuf,
    file: Arc<File>,
    pub records: Arc<Vec<Record>>,
}

/// A journal for writing.
pub struct Journal {
    view: View,
    end: u64,
    /// Up to where it was synced.
    synced: u64,
    /// Kept between records: a compressor's tables are large.
    compressor: zstd::bulk::Compressor<'static>,
}

impl Journal {
    /// A new one.
    pub fn create(folder: &Path, number: u64) -> Result<Self, Error> {
        let path = path(folder, number);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(io("create", &path))?;
        let begun = file.write_all_at(MAGIC, 0).map_err(io("write", &path)).and_then(|()| sync_folder(folder));
        let view = View { number, path, file: Arc::new(file), records: Arc::default() };
        let journal = begun.and_then(|()| Self::new(view.clone(), MAGIC.len() as u64));
        if journal.is_err() {
            // The next try needs its name.
            let _ = std::fs::remove_file(&view.path);
        }
        journal
    }

    /// One that is there; what follows its last good record is cut. Answers with the number of bytes that were.
    pub fn recover(folder: &Path, number: u64) -> Result<(Self, u64), Error> {
        let path = path(folder, number);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io("open", &path))?;
        let length = file.metadata().map_err(io("read", &path))?.len();
        let (records, end) = scan(&file, length).map_err(io("read", &path))?;
        let end = if end == 0 {
            file.write_all_at(MAGIC, 0).map_err(io("write", &path))?;
            MAGIC.len() as u64
        } else {
            end
        };
        file.set_len(end).map_err(io("cut", &path))?;
        let view = View { number, path, file: Arc::new(file), records: Arc::new(records) };
        Ok((Self::new(view, end)?, length.saturating_sub(end)))
    }

    fn new(view: View, end: u64) -> Result<Self, Error> {
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(io("compress for", &view.path))?;
        Ok(Self { view, end, synced: 0, compressor })
    }

    /// Writes one record; after an error the journal is as it was.
    pub fn append(&mut self, frames: &Frames) -> Result<(), Error> {
        let path = &self.view.path;
        let plain = u32::try_from(frames.bytes.len()).ok().filter(|plain| *plain <= LARGEST);
        let plain = plain.ok_or_else(|| io("write", path)(io::ErrorKind::FileTooLarge.into()))?;
        let payload = self.compressor.compress(&frames.bytes).map_err(io("compress for", path))?;
        let record = Record {
            offset: self.end,
            length: payload.len() as u32,
            plain,
            rows: frames.rows,
            flows: frames.flows,
            span: frames.span,
        };
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&record.header(&payload));
        bytes.extend_from_slice(&payload);
        if let Err(error) = self.view.file.write_all_at(&bytes, self.end) {
            // What was written of it would be cut at the next start anyway.
            let _ = self.view.file.set_len(self.end);
            return Err(io("write", path)(error));
        }
        self.end += bytes.len() as u64;
        Arc::make_mut(&mut self.view.records).push(record);
        Ok(())
    }

    /// All that was written is on the disk when this returns. `false`: it was already.
    pub fn sync(&mut self) -> Result<bool, Error> {
        let is_due = self.synced < self.end;
        if is_due {
            self.view.file.sync_data().map_err(io("sync", &self.view.path))?;
            self.synced = self.end;
        }
        Ok(is_due)
    }

    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    pub fn rows(&self) -> u64 {
        self.view.rows()
    }
}

impl View {
    /// For a reader that may not change anything: up to the last good record.
    pub fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let path = path(folder, number);
        let file = File::open(&path)?;
        let (records, _) = scan(&file, file.metadata()?.len())?;
        Ok(Self { number, path, file: Arc::new(file), records: Arc::new(records) })
    }

    pub fn rows(&self) -> u64 {
        self.records.iter().map(|record| u64::from(record.rows)).sum()
    }

    pub fn span(&self) -> Span {
        self.records.iter().fold(Span::EMPTY, |mut span, record| {
            span.join(record.span);
            span
        })
    }

    pub fn bytes(&self) -> u64 {
        self.records.last().map_or(MAGIC.len() as u64, |last| last.offset + HEADER as u64 + u64::from(last.length))
    }

    /// The frames of a record.
    pub fn read(&self, record: &Record) -> Result<Vec<u8>, Damage> {
        let damage = |reason: &dyn ToString| Damage::new(&self.path, reason.to_string());
        let mut bytes = vec![0; HEADER + record.length as usize];
        self.file.read_exact_at(&mut bytes, record.offset).map_err(|error| damage(&error))?;
        let (header, payload) = bytes.split_at(HEADER);
        if header != record.header(payload) {
            return Err(damage(&"its bytes have changed since they were written"));
        }
        zstd::bulk::decompress(payload, record.plain as usize).map_err(|error| damage(&error))
    }
}

impl Record {
    fn header(&self, payload: &[u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let numbers = [self.rows, self.flows, self.plain, 0];
        header[..4].copy_from_slice(&self.length.to_le_bytes());
        for (place, number) in header[8..24].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        header[24..32].copy_from_slice(&self.span.first.to_le_bytes());
        header[32..].copy_from_slice(&self.span.last.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[8..]);
        crc.update(payload);
        header[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        header
    }

    fn read(header: &[u8; HEADER], offset: u64) -> Self {
        let short = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long = |at: usize| (u64::from(short(at)) | u64::from(short(at + 4)) << 32) as i64;
        let span = Span { first: long(24), last: long(32) };
        Self { offset, length: short(0), plain: short(16), rows: short(8), flows: short(12), span }
    }
}

/// Good records, and where the last of them ends: 0 where not even the beginning is a journal's.
fn scan(file: &File, length: u64) -> io::Result<(Vec<Record>, u64)> {
    let (mut records, mut payload) = (Vec::new(), Vec::new());
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 {
        return Ok((records, 0));
    }
    file.read_exact_at(&mut magic, 0)?;
    if magic != *MAGIC {
        return Ok((records, 0));
    }
    let mut end = MAGIC.len() as u64;
    while end + HEADER as u64 <= length {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, end)?;
        let record = Record::read(&header, end);
        let next = end + HEADER as u64 + u64::from(record.length);
        if next > length || record.plain > LARGEST {
            break;
        }
        payload.resize(record.length as usize, 0);
        file.read_exact_at(&mut payload, end + HEADER as u64)?;
        if record.header(&payload) != header {
            break;
        }
        records.push(record);
        end = next;
    }
    Ok((records, end))
}

pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.journal"))
}

const MAGIC: &[u8; 8] = b"malflow1";
const HEADER: usize = 40;
/// Plain bytes of a record: what a reader holds in memory at once.
pub const LARGEST: u32 = 4 << 20;
/// The fastest that still takes away most of what flows have in common.
const LEVEL: i32 = 1;
