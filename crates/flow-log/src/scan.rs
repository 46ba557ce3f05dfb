//! Rows of a segment become flows again, some at a time.

use crate::Damage;
use crate::columns::place;
use crate::moment::{NO_TIME, timestamp};
use crate::plan::Plan;
use crate::query::{Order, Query};
use crate::row::Row;
use crate::segment::Segment;
use crate::select;
use flow_api::flow::LostEvent;
use flow_api::ring::{Event, What};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, FixedLenByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use prost::Message;
use std::fs::File;
use std::sync::Arc;

/// The chosen rows of a segment.
pub struct Scan {
    segment: Arc<Segment>,
    file: SerializedFileReader<File>,
    /// Still to be read, in the segment's order.
    rows: Vec<u32>,
    /// How many of them are behind us, when reading forwards.
    done: usize,
    order: Order,
    /// Columns know only one way: they are kept when reading forwards, and opened anew for each step back.
    columns: Option<Cursors>,
}

impl Scan {
    /// `None`: the segment has gone, or has nothing.
    pub fn new(segment: Arc<Segment>, plan: &Plan, query: &Query) -> Result<Option<Self>, Damage> {
        let Some(file) = segment.read()? else { return Ok(None) };
        let rows = file.get_row_group(0).and_then(|group| select::rows(&segment, &*group, plan, query));
        let rows = rows.map_err(|error| Damage::new(&segment.path, error))?;
        Ok((!rows.is_empty()).then_some(Self { segment, file, rows, done: 0, order: query.order, columns: None }))
    }

    /// The next rows, at most so many, in the wanted order; none: it is over.
    pub fn next(&mut self, most: usize) -> Result<Vec<Event>, Damage> {
        self.read(most).map_err(|error| Damage::new(&self.segment.path, error))
    }

    fn read(&mut self, most: usize) -> Result<Vec<Event>, ParquetError> {
        let wanted = match self.order {
            Order::OldestFirst => {
                let rows = &self.rows[self.done..];
                let rows = rows[..most.min(rows.len())].to_vec();
                self.done += rows.len();
                rows
            }
            Order::NewestFirst => {
                self.columns = None;
                self.rows.split_off(self.rows.len().saturating_sub(most))
            }
        };
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let columns = match &mut self.columns {
            Some(columns) => columns,
            none => none.insert(Cursors::new(&*self.file.get_row_group(0)?)?),
        };
        let mut events = columns.read(&wanted)?;
        if self.order == Order::NewestFirst {
            events.reverse();
        }
        Ok(events)
    }
}

/// The columns that make a flow.
struct Cursors {
    time: Cursor<Int64Type>,
    lost: Cursor<Int64Type>,
    verdict: Cursor<Int32Type>,
    drop_reason: Cursor<Int32Type>,
    source_ip: Cursor<ByteArrayType>,
    destination_ip: Cursor<ByteArrayType>,
    source: Cursor<ByteArrayType>,
    destination: Cursor<ByteArrayType>,
    uuid: Cursor<FixedLenByteArrayType>,
    rest: Cursor<ByteArrayType>,
}

impl Cursors {
    fn new(group: &dyn RowGroupReader) -> Result<Self, ParquetError> {
        Ok(Self {
            time: Cursor::new(group, place::TIME)?,
            lost: Cursor::new(group, place::LOST)?,
            verdict: Cursor::new(group, place::VERDICT)?,
            drop_reason: Cursor::new(group, place::DROP_REASON)?,
            source_ip: Cursor::new(group, place::SOURCE_IP)?,
            destination_ip: Cursor::new(group, place::DESTINATION_IP)?,
            source: Cursor::new(group, place::SOURCE)?,
            destination: Cursor::new(group, place::DESTINATION)?,
            uuid: Cursor::new(group, place::UUID)?,
            rest: Cursor::new(group, place::REST)?,
        })
    }

    fn read(&mut self, rows: &[u32]) -> Result<Vec<Event>, ParquetError> {
        let (time, lost) = (self.time.read(rows)?, self.lost.read(rows)?);
        let (verdict, drop_reason) = (self.verdict.read(rows)?, self.drop_reason.read(rows)?);
        let (source_ip, destination_ip) = (self.source_ip.read(rows)?, self.destination_ip.read(rows)?);
        let (source, destination) = (self.source.read(rows)?, self.destination.read(rows)?);
        let (uuid, rest) = (self.uuid.read(rows)?, self.rest.read(rows)?);
        let wrong = |what: &str| ParquetError::General(what.to_owned());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| wrong("an address is no text"));
        let mut events = Vec::with_capacity(rows.len());
        for at in 0..rows.len() {
            let what = if lost[at] > 0 {
                What::Lost(LostEvent::decode(rest[at].data()).map_err(|_| wrong("a loss can't be read"))?)
            } else {
                let row = Row {
                    time: time[at],
                    verdict: verdict[at],
                    drop_reason: drop_reason[at],
                    source_ip: text(source_ip[at].data())?,
                    destination_ip: text(destination_ip[at].data())?,
                    source: source[at].data(),
                    destination: destination[at].data(),
                    uuid: uuid[at].data().try_into().map_err(|_| wrong("a UUID has not 16 bytes"))?,
                    rest: rest[at].data().to_vec(),
                };
                What::flow(row.join().ok_or_else(|| wrong("a flow can't be read"))?)
            };
            let time = if time[at] == NO_TIME { Default::default() } else { timestamp(time[at]) };
            events.push(Event { time, what });
        }
        Ok(events)
    }
}

/// A column, from one row on.
struct Cursor<T: DataType> {
    reader: ColumnReaderImpl<T>,
    row: u32,
}

impl<T: DataType> Cursor<T> {
    fn new(group: &dyn RowGroupReader, column: usize) -> Result<Self, ParquetError> {
        Ok(Self { reader: get_typed_column_reader(group.get_column_reader(column)?), row: 0 })
    }

    /// The values of these rows, which are in order and not behind.
    fn read(&mut self, rows: &[u32]) -> Result<Vec<T::T>, ParquetError> {
        let mut values = Vec::with_capacity(rows.len());
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            let gap = (run[0] - self.row) as usize;
            let skipped = if gap > 0 { self.reader.skip_records(gap)? } else { 0 };
            let before = values.len();
            self.reader.read_records(run.len(), None, None, &mut values)?;
            if skipped != gap || values.len() - before != run.len() {
                return Err(ParquetError::General("a column ends before its rows".to_owned()));
            }
            self.row = run[0] + run.len() as u32;
        }
        Ok(values)
    }
}
