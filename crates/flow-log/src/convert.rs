//! A closed journal becomes a segment: the same rows, column by column.

use crate::columns::{BATCH, Columns, Side, Texts, properties, schema};
use crate::journal::View;
use crate::{Damage, Error, error::io, error::sync_folder, frames, segment};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType};
use parquet::data_type::{Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes the segment; it is on the disk, under its name, when this returns. Its name has the checksum of all of its bytes.
pub fn convert(journal: &View, folder: &Path) -> Result<PathBuf, Error> {
    let columns = read(journal).map_err(|source| Error::Convert { path: journal.path.clone(), source })?;
    let draft = folder.join(format!("{:012}.tmp", journal.number));
    let mut options = OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(io("create", &draft))?;
    let crc = match write(&columns, file) {
        Ok(crc) => crc,
        Err(error) => {
            // Of use to nobody, and the disk may be full.
            let _ = std::fs::remove_file(&draft);
            return Err(io("write", &draft)(io::Error::other(error)));
        }
    };
    let path = segment::path(folder, journal.number, crc);
    std::fs::rename(&draft, &path).map_err(io("rename", &draft))?;
    sync_folder(folder)?;
    Ok(path)
}

fn read(journal: &View) -> Result<Columns, Damage> {
    let mut columns = Columns::default();
    for record in journal.records.iter() {
        for frame in frames::read(&journal.read(record)?) {
            let added = frame.map(|frame| columns.add(frame));
            if !matches!(added, Ok(Some(()))) {
                return Err(Damage::new(&journal.path, "a record holds what is no flow"));
            }
        }
    }
    Ok(columns)
}

fn write(columns: &Columns, file: File) -> Result<u32, ParquetError> {
    let sum = Summed { file: BufWriter::new(file), crc: crc32fast::Hasher::new() };
    let properties = Arc::new(properties(columns.time.len() as u64)?);
    let mut writer = SerializedFileWriter::new(sum, schema()?, properties)?;
    let mut rows = writer.next_row_group()?;
    // In the schema's order.
    plain::<Int64Type>(&mut rows, &columns.time)?;
    plain::<Int64Type>(&mut rows, &columns.lost)?;
    plain::<Int32Type>(&mut rows, &columns.verdict)?;
    plain::<Int32Type>(&mut rows, &columns.drop_reason)?;
    let sides = [&columns.source, &columns.destination];
    for side in sides {
        let identity = |number: &u32| side.facts[*number as usize].identity;
        mapped::<Int32Type, _>(&mut rows, &side.endpoint.rows, identity)?;
    }
    for side in sides {
        texts(&mut rows, &side.address)?;
    }
    for side in sides {
        facts(&mut rows, side, |number| side.facts[number].pod.clone())?;
    }
    for side in sides {
        facts(&mut rows, side, |number| side.facts[number].workload.clone())?;
    }
    for side in sides {
        texts(&mut rows, &side.endpoint)?;
    }
    let uuid = |uuid: &[u8; 16]| FixedLenByteArray::from(uuid.to_vec());
    mapped::<FixedLenByteArrayType, _>(&mut rows, &columns.uuid, uuid)?;
    let mut start = 0;
    mapped::<ByteArrayType, _>(&mut rows, &columns.rest_ends, |end| {
        let rest = columns.rest[start..*end].to_vec();
        start = *end;
        rest.into()
    })?;
    rows.close()?;
    writer.finish()?;
    writer.inner_mut().finish().map_err(ParquetError::from)
}

fn plain<T: DataType>(
    rows: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    mapped::<T, _>(rows, values, T::T::clone)
}

fn texts(rows: &mut SerializedRowGroupWriter<'_, impl Write + Send>, texts: &Texts) -> Result<(), ParquetError> {
    mapped::<ByteArrayType, _>(rows, &texts.rows, |number| texts.values[*number as usize].clone())
}

fn facts(
    rows: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    side: &Side,
    fact: impl Fn(usize) -> ByteArray,
) -> Result<(), ParquetError> {
    mapped::<ByteArrayType, _>(rows, &side.endpoint.rows, |number| fact(*number as usize))
}

/// The next column: `value` of each of `from`.
fn mapped<T: DataType, F>(
    rows: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    from: &[F],
    mut value: impl FnMut(&F) -> T::T,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("the schema has fewer columns".to_owned());
    let mut column = rows.next_column()?.ok_or_else(missing)?;
    let mut values = Vec::with_capacity(BATCH);
    for batch in from.chunks(BATCH) {
        values.clear();
        values.extend(batch.iter().map(&mut value));
        column.typed::<T>().write_batch(&values, None, None)?;
    }
    column.close()
}

/// A file whose bytes are summed up as they are written.
struct Summed {
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
}

impl Summed {
    fn finish(&mut self) -> io::Result<u32> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.crc.clone().finalize())
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
