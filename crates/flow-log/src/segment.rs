//! A closed part of the log: a Parquet file that never changes, named by its number and the checksum of all its bytes.

use crate::Damage;
use crate::columns::place;
use crate::frames::Span;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What is known of a segment without reading its rows.
#[derive(Debug)]
pub struct Segment {
    pub number: u64,
    pub path: PathBuf,
    pub bytes: u64,
    pub rows: u64,
    pub span: Span,
    /// Whether losses are told in it.
    pub has_losses: bool,
    crc: u32,
    /// Whether its bytes are those that were written, once somebody has asked.
    sound: OnceLock<Result<(), Damage>>,
}

impl Segment {
    /// Reads the end of the file.
    pub fn open(path: PathBuf, number: u64, crc: u32) -> Result<Self, Damage> {
        let damage = |error: &dyn ToString| Damage::new(&path, error.to_string());
        let file = File::open(&path).map_err(|error| damage(&error))?;
        let bytes = file.metadata().map_err(|error| damage(&error))?.len();
        let reader = SerializedFileReader::new(file).map_err(|error| damage(&error))?;
        let groups = reader.metadata().row_groups();
        let [group] = groups else { return Err(damage(&format!("{} row groups, not one", groups.len()))) };
        let expected = crate::columns::schema().map_err(|error| damage(&error))?;
        if group.schema_descr().root_schema() != &*expected {
            return Err(damage(&"its columns are not those of a flow log"));
        }
        let rows = u64::try_from(group.num_rows()).map_err(|error| damage(&error))?;
        let (first, last) = range(group, place::TIME).ok_or_else(|| damage(&"it does not tell its times"))?;
        let (_, lost) = range(group, place::LOST).ok_or_else(|| damage(&"it does not tell its losses"))?;
        let span = Span { first, last };
        Ok(Self { number, bytes, rows, span, has_losses: lost > 0, crc, sound: OnceLock::new(), path })
    }

    /// Opens it for reading rows. The first time, all its bytes are held against the checksum.
    ///
    /// # Errors
    /// `Ok(None)`: it has gone in the meantime, as old ones do.
    pub fn read(&self) -> Result<Option<SerializedFileReader<File>>, Damage> {
        let damage = |error: &dyn ToString| Damage::new(&self.path, error.to_string());
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damage(&error)),
        };
        self.sound.get_or_init(|| self.check(&file)).clone()?;
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new()
            .with_page_index()
            .with_encoding_stats_as_mask(true)
            .with_reader_properties(properties)
            .build();
        SerializedFileReader::new_with_options(file, options).map(Some).map_err(|error| damage(&error))
    }

    fn check(&self, mut file: &File) -> Result<(), Damage> {
        let (mut crc, mut buffer) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => crc.update(&buffer[..read]),
                Err(error) => return Err(Damage::new(&self.path, error)),
            }
        }
        let is_sound = crc.finalize() == self.crc;
        is_sound.then_some(()).ok_or_else(|| Damage::new(&self.path, "its bytes have changed since they were written"))
    }
}

/// Smallest and largest value of a column.
fn range(group: &RowGroupMetaData, column: usize) -> Option<(i64, i64)> {
    match group.column(column).statistics()? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

pub fn path(folder: &Path, number: u64, crc: u32) -> PathBuf {
    folder.join(format!("{number:012}-{crc:08x}.parquet"))
}
