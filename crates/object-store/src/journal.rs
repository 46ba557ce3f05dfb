//! Where changes become durable: a trait with two twins, redb and none.

use crate::{Entry, StoreError};
use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;

/// One accepted change on its way to the disk; `value` None deletes the key.
pub(crate) struct Record<'a> {
    pub key: &'a str,
    pub value: Option<&'a Bytes>,
    pub revision: u64,
}

/// Makes a group of changes durable, all or none.
pub(crate) trait Journal: Send {
    fn commit(&mut self, records: &[Record<'_>]) -> Result<(), StoreError>;
}

/// What a journal held at its opening.
#[derive(Default)]
pub(crate) struct Recovered {
    pub entries: BTreeMap<String, Entry>,
    pub revision: u64,
}

/// The in-memory twin: nothing outlives the process.
pub(crate) struct NoJournal;

impl Journal for NoJournal {
    fn commit(&mut self, _: &[Record<'_>]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// key -> 8 bytes revision (big endian), then the value.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// The global revision moves with deletions too, so it is kept apart from the objects.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
/// Bytes of redb's page cache. Small: all reads come from memory, the journal is only written.
const CACHE_BYTES: usize = 4 << 20;

pub(crate) struct RedbJournal {
    database: Database,
}

impl RedbJournal {
    /// Opens (and after a crash repairs) the file, and reads everything in it.
    pub fn open(file: &Path) -> Result<(Self, Recovered), StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(file).map_err(failed("open"))?;
        let write = database.begin_write().map_err(failed("begin"))?;
        write.open_table(OBJECTS).map_err(failed("open objects"))?;
        write.open_table(META).map_err(failed("open meta"))?;
        write.commit().map_err(failed("create tables"))?;

        let mut recovered = Recovered::default();
        let read = database.begin_read().map_err(failed("begin reading"))?;
        let meta = read.open_table(META).map_err(failed("open meta"))?;
        recovered.revision = meta.get(REVISION).map_err(failed("read revision"))?.map_or(0, |found| found.value());
        let objects = read.open_table(OBJECTS).map_err(failed("open objects"))?;
        for row in objects.iter().map_err(failed("read objects"))? {
            let (key, stored) = row.map_err(failed("read object"))?;
            let Some((revision, value)) = stored.value().split_first_chunk::<8>() else {
                return Err(StoreError::Journal {
                    operation: "read object",
                    cause: format!("{} is cut short", key.value()),
                });
            };
            let entry = Entry { value: Bytes::copy_from_slice(value), revision: u64::from_be_bytes(*revision) };
            recovered.revision = recovered.revision.max(entry.revision);
            recovered.entries.insert(key.value().to_owned(), entry);
        }
        Ok((Self { database }, recovered))
    }
}

impl Journal for RedbJournal {
    fn commit(&mut self, records: &[Record<'_>]) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().map_err(failed("begin"))?;
        write.set_durability(Durability::Immediate).map_err(failed("set durability"))?;
        {
            let mut objects = write.open_table(OBJECTS).map_err(failed("open objects"))?;
            let mut meta = write.open_table(META).map_err(failed("open meta"))?;
            let mut newest = 0;
            let mut buffer = Vec::new();
            for record in records {
                newest = newest.max(record.revision);
                match record.value {
                    Some(value) => {
                        buffer.clear();
                        buffer.extend_from_slice(&record.revision.to_be_bytes());
                        buffer.extend_from_slice(value);
                        objects.insert(record.key, buffer.as_slice()).map_err(failed("insert"))?;
                    }
                    None => {
                        objects.remove(record.key).map_err(failed("remove"))?;
                    }
                }
            }
            meta.insert(REVISION, newest).map_err(failed("write revision"))?;
        }
        write.commit().map_err(failed("commit"))
    }
}

fn failed<E: std::fmt::Display>(operation: &'static str) -> impl FnOnce(E) -> StoreError {
    move |cause| StoreError::Journal { operation, cause: cause.to_string() }
}
