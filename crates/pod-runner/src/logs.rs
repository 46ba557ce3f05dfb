//! Reading and following a container's log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, Write},
    path::Path,
    time::Duration,
};

use crate::{
    find::{FindError, logs as find_logs},
    shim::rotated,
};

/// What to show of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    pub container: Option<String>,
    /// The run before the current one.
    pub previous: bool,
    /// Go on as the container writes, until it ends.
    pub follow: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
}

/// Why a log could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("read the log of {0}")]
    Read(String, #[source] io::Error),
}

/// Writes the log of a Pod's container to `out`.
pub fn logs(
    pods: &Path,
    namespace: &str,
    name: &str,
    options: &LogOptions,
    out: &mut impl Write,
) -> Result<(), LogError> {
    let (dir, path) = find_logs(pods, namespace, name, options.container.as_deref(), options.previous)?;
    let failed = |error| LogError::Read(name.into(), error);
    let mut lines = Vec::new();
    for part in [rotated(&path), path.clone()] {
        match File::open(&part) {
            Ok(file) => read_lines(&mut BufReader::new(file), &mut lines).map(drop).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let begin = options.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    for line in &lines[begin..] {
        show(line, options.timestamps, out).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    if options.follow && !options.previous {
        follow(&path, || dir.exit().exists(), options.timestamps, out).map_err(failed)?;
    }
    Ok(())
}

/// Shows what is appended from now on, across rotations, until `ended` and everything is read.
fn follow(path: &Path, ended: impl Fn() -> bool, timestamps: bool, out: &mut impl Write) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mut file = loop {
        match File::open(path) {
            Ok(file) => break file,
            Err(_) if ended() => return Ok(()),
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    };
    file.seek(io::SeekFrom::End(0))?;
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::new(file);
    loop {
        // Asked first: what was written before the end is then read before we go.
        let last = ended();
        let mut lines = Vec::new();
        let partial = read_lines(&mut reader, &mut lines)?;
        for line in &lines {
            show(line, timestamps, out)?;
        }
        out.flush()?;
        // A half-written line is read again when it is whole.
        reader.seek_relative(-i64::try_from(partial).unwrap_or(0))?;
        match std::fs::metadata(path) {
            Ok(meta) if meta.ino() != inode && lines.is_empty() => {
                inode = meta.ino();
                reader = BufReader::new(File::open(path)?);
            }
            _ if last && lines.is_empty() => return Ok(()),
            _ if lines.is_empty() => std::thread::sleep(LOOK_AGAIN),
            _ => {}
        }
    }
}

/// Reads whole lines; returns how many bytes of an unfinished one were read.
fn read_lines(reader: &mut impl BufRead, lines: &mut Vec<Vec<u8>>) -> io::Result<usize> {
    loop {
        let mut line = Vec::new();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(length);
        }
        lines.push(line);
    }
}

/// One entry `TIME STREAM TAG TEXT`; an entry tagged `P` goes on in the next one.
fn show(entry: &[u8], timestamps: bool, out: &mut impl Write) -> io::Result<()> {
    let mut parts = entry.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(_), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return out.write_all(entry);
    };
    if timestamps {
        out.write_all(time)?;
        out.write_all(b" ")?;
    }
    match (tag, text.split_last()) {
        (b"P", Some((_, text))) => out.write_all(text),
        _ => out.write_all(text),
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_the_lines_that_were_written() {
        let mut out = Vec::new();
        for entry in ["t1 stdout F one\n", "t2 stderr P long \n", "t3 stderr F line\n", "t4 stdout F \n", "rubbish\n"] {
            show(entry.as_bytes(), false, &mut out).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "one\nlong line\n\nrubbish\n");
        let mut out = Vec::new();
        show(b"t1 stdout F one\n", true, &mut out).unwrap();
        assert_eq!(out, b"t1 one\n");
    }
}
