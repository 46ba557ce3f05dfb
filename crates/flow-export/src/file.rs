//! A file of lines that is put aside when it is large, under a name with the time, and of which a number is kept.

use crate::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file and those that were put aside. Files are readable by their owner only.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    most_bytes: u64,
    most_backups: usize,
    compress: bool,
    file: File,
    /// In the file.
    bytes: u64,
    /// Whole lines that are not.
    waiting: Vec<u8>,
}

/// The file system said no.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct Error {
    /// What was tried.
    pub operation: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
    /// Lines that are lost by it.
    pub lines: u64,
}

impl RotatingFile {
    /// Opens the file, or makes it, and goes on after its last whole line.
    ///
    /// # Errors
    /// The file system.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let path = settings.file_path.clone();
        let (file, bytes) = open(&path)?;
        let most_bytes = settings.file_max_size_mb.max(1).saturating_mul(1 << 20);
        let (most_backups, compress) = (settings.file_max_backups, settings.file_compress);
        let file = Self { path, most_bytes, most_backups, compress, file, bytes, waiting: Vec::new() };
        // What a crash left half compressed is whole in its file.
        for draft in file.put_aside(DRAFT)? {
            let _ = std::fs::remove_file(&draft);
        }
        Ok(file)
    }

    /// Takes a line, which is in the file after the next [`RotatingFile::flush`]. If the file would be too large with it, that is
    /// put aside first, under the name of `now`.
    ///
    /// # Errors
    /// The file system. If the file could not be put aside, the line is lost; the next tries again.
    pub fn write_line(&mut self, line: &str, now: Timestamp) -> Result<(), Error> {
        let length = line.len() as u64 + 1;
        let most = self.most_bytes;
        let is_full = |size: u64| size > 0 && size + length > most;
        let mut rotated = Ok(());
        if is_full(self.size()) {
            rotated = self.rotate(now);
            if is_full(self.size()) {
                return rotated.map_err(|error| Error { lines: error.lines + 1, ..error });
            }
        }
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
        // One error at a time: what can't be flushed beside another one would be lost untold.
        rotated.and_then(|()| if self.waiting.len() >= BUFFER { self.flush() } else { Ok(()) })
    }

    /// What was taken can be read by others when this returns: whole lines, and nothing of those that the disk refused.
    ///
    /// # Errors
    /// The file system. What waited is lost then.
    pub fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.write_all(&self.waiting).map_err(error("write", &self.path));
        let written = written.map_err(|error| Error { lines: lines(&self.waiting), ..error });
        match &written {
            Ok(()) => self.bytes += self.waiting.len() as u64,
            // Half a line would spoil the next. Where it can't be cut now, the next start does.
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        self.waiting.clear();
        written
    }

    /// Puts the file aside, whatever its size, and begins another.
    ///
    /// # Errors
    /// The first of them; the rest is done nevertheless. Where no other can be begun, this one goes on.
    pub fn rotate(&mut self, now: Timestamp) -> Result<(), Error> {
        // A full disk is a reason to go on: the oldest file goes.
        let flushed = self.flush();
        let backup = self.free_name(now);
        let is_moved = match std::fs::rename(&self.path, &backup) {
            Ok(()) => true,
            // Somebody else has put it aside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return flushed.and(Err(error("rename", &self.path)(source))),
        };
        match open(&self.path) {
            Ok(opened) => (self.file, self.bytes) = opened,
            Err(error) => {
                if is_moved {
                    let _ = std::fs::rename(&backup, &self.path);
                }
                return flushed.and(Err(error));
            }
        }
        let compressed = if self.compress && is_moved { compress(&backup) } else { Ok(()) };
        flushed.and(compressed).and(self.remove_old())
    }

    /// With what waits.
    fn size(&self) -> u64 {
        self.bytes + self.waiting.len() as u64
    }

    /// Oldest first. Their names sort by time.
    ///
    /// # Errors
    /// The file system.
    pub fn backups(&self) -> Result<Vec<PathBuf>, Error> {
        let mut backups = self.put_aside("")?;
        backups.extend(self.put_aside(".gz")?);
        backups.sort();
        Ok(backups)
    }

    /// Ours, with such an end.
    fn put_aside(&self, end: &str) -> Result<Vec<PathBuf>, Error> {
        let (stem, extension) = self.names();
        let folder = folder(&self.path);
        let mut backups = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(error("list", &folder))? {
            let path = entry.map_err(error("list", &folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let plain = name.strip_suffix(end).and_then(|name| name.strip_suffix(&extension));
            let time = plain.and_then(|name| name.strip_prefix(&format!("{stem}-")));
            // Somebody else's `flows-of-mine.json` is not ours to remove.
            if time.is_some_and(is_time) {
                backups.push(path);
            }
        }
        Ok(backups)
    }

    fn remove_old(&self) -> Result<(), Error> {
        let backups = self.backups()?;
        for path in &backups[..backups.len().saturating_sub(self.most_backups)] {
            std::fs::remove_file(path).map_err(error("remove", path))?;
        }
        Ok(())
    }

    /// `events-2026-11-29T23-05-26.000.log`; if that is taken, of the next millisecond that is not.
    fn free_name(&self, now: Timestamp) -> PathBuf {
        let (stem, extension) = self.names();
        let mut time = now;
        loop {
            let text = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
            let path = folder(&self.path).join(format!("{stem}-{text}{extension}"));
            let compressed = with_gz(&path);
            let later = time.checked_add(jiff::SignedDuration::from_millis(1));
            match later {
                Ok(later) if path.exists() || compressed.exists() => time = later,
                _ => return path,
            }
        }
    }

    /// Name without its extension, and the extension with its dot.
    fn names(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map_or(String::new(), |extension| format!(".{}", text(Some(extension))));
        (text(self.path.file_stem()), extension)
    }
}

/// A crash may have left half a line: it is cut, so that every line is JSON.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path);
    let mut file = file.map_err(error("open", path))?;
    let end = end_of_lines(&mut file).map_err(error("read", path))?;
    file.set_len(end).map_err(error("cut", path))?;
    Ok((file, end))
}

/// Where the last newline ends.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 1 << 16];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let piece = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Beside it first: whoever finds a `.gz` finds all of it.
fn compress(path: &Path) -> Result<(), Error> {
    let draft = path.with_added_extension(&DRAFT[1..]);
    let done = compress_to(path, &draft);
    if done.is_err() {
        // Of use to nobody, and the disk may be full.
        let _ = std::fs::remove_file(&draft);
    }
    done
}

fn compress_to(path: &Path, draft: &Path) -> Result<(), Error> {
    let mut from = File::open(path).map_err(error("open", path))?;
    let mut options = OpenOptions::new();
    let to = options.write(true).create(true).truncate(true).mode(0o600).open(draft).map_err(error("create", draft))?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    let copied = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish());
    copied.map_err(error("write", draft))?;
    std::fs::rename(draft, with_gz(path)).map_err(error("rename", draft))?;
    std::fs::remove_file(path).map_err(error("remove", path))
}

fn with_gz(path: &Path) -> PathBuf {
    path.with_added_extension("gz")
}

fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// `2026-11-29T23-05-26.000`
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00-00-00.000";
    let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
    text.len() == form.len() && text.bytes().zip(form).all(fits)
}

fn error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { operation, path, source, lines: 0 }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Bytes of lines that wait for one writing.
const BUFFER: usize = 64 << 10;

/// End of what is being compressed.
const DRAFT: &str = ".draft";
