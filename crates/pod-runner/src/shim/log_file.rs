//! The container's log: one line of text per line of output, in the form that kubelet and its tools read (CRI):
//! `2026-11-20T20:00:00.000000000Z stdout F the line`, `P` for a line that goes on in the next entry.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

/// An open log that rotates itself.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
    max_bytes: u64,
    /// What each stream has begun and not ended with a line feed yet.
    pending: [Vec<u8>; 2],
}

/// Which stream a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl LogFile {
    /// Opens the log for appending.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.into(), file, written, max_bytes, pending: Default::default() })
    }

    /// Takes a piece of output and writes the lines that it completes.
    pub fn take(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.pending[stream as usize]);
        text.extend_from_slice(bytes);
        let mut entries = Vec::with_capacity(text.len() + 64);
        let mut rest = text.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            entry(&mut entries, stream, "F", &rest[..end], now);
            rest = &rest[end + 1..];
        }
        while rest.len() >= LONGEST_ENTRY {
            entry(&mut entries, stream, "P", &rest[..LONGEST_ENTRY], now);
            rest = &rest[LONGEST_ENTRY..];
        }
        self.pending[stream as usize] = rest.to_vec();
        self.append(&entries)
    }

    /// Writes what a stream left unfinished when it ended.
    pub fn end(&mut self, stream: Stream, now: Timestamp) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending[stream as usize]);
        let mut entries = Vec::new();
        if !rest.is_empty() {
            entry(&mut entries, stream, "F", &rest, now);
        }
        self.append(&entries)
    }

    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.written > 0 && self.written + entries.len() as u64 > self.max_bytes {
            fs::rename(&self.path, rotated(&self.path))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(entries)?;
        self.written += entries.len() as u64;
        Ok(())
    }
}

/// Where the part before the last rotation is.
#[must_use]
pub fn rotated(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn entry(out: &mut Vec<u8>, stream: Stream, tag: &str, line: &[u8], now: Timestamp) {
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    out.extend_from_slice(format!("{now:.9} {stream} {tag} ").as_bytes());
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Longer lines are split, as container runtimes do at 16 KiB.
const LONGEST_ENTRY: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str, max: u64) -> (LogFile, PathBuf) {
        let folder = std::env::temp_dir().join(format!("malla-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        let _ = fs::remove_file(&path);
        (LogFile::open(&path, max).unwrap(), path)
    }

    #[test]
    fn lines_are_whole_and_streams_do_not_mix() {
        let (mut log, path) = log("lines", 1 << 20);
        let now = Timestamp::from_second(0).unwrap();
        log.take(Stream::Stdout, b"he", now).unwrap();
        log.take(Stream::Stderr, b"oops\n", now).unwrap();
        log.take(Stream::Stdout, b"llo\nend", now).unwrap();
        log.end(Stream::Stdout, now).unwrap();
        let expect = "1970-01-01T00:00:00.000000000Z stderr F oops\n\
                      1970-01-01T00:00:00.000000000Z stdout F hello\n\
                      1970-01-01T00:00:00.000000000Z stdout F end\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expect);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn long_lines_are_split_and_the_file_rotates() {
        let (mut log, path) = log("rotate", 40_000);
        let now = Timestamp::now();
        log.take(Stream::Stdout, &vec![b'x'; 20_000], now).unwrap();
        log.take(Stream::Stdout, b"\n", now).unwrap();
        log.take(Stream::Stdout, &[vec![b'y'; 30_000], b"\n".to_vec()].concat(), now).unwrap();
        let before = fs::read_to_string(rotated(&path)).unwrap();
        let after = fs::read_to_string(&path).unwrap();
        assert!(before.contains(" P xxx") && before.contains(" F xxx"), "split at 16 KiB");
        assert!(after.contains('y') && !after.contains("xx"));
        assert!(after.len() < 40_000 && before.len() < 40_000);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
