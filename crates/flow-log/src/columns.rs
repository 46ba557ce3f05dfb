//! The columns of a segment: which there are, how they are encoded, and how rows become them.

use crate::frames::{Frame, Span};
use crate::moment::{NO_TIME, nanoseconds};
use crate::row::Row;
use flow_api::flow::{Endpoint, LostEvent};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;

/// Place of each column in the schema.
pub mod place {
    pub const TIME: usize = 0;
    pub const LOST: usize = 1;
    pub const VERDICT: usize = 2;
    pub const DROP_REASON: usize = 3;
    pub const SOURCE_IDENTITY: usize = 4;
    pub const DESTINATION_IDENTITY: usize = 5;
    pub const SOURCE_IP: usize = 6;
    pub const DESTINATION_IP: usize = 7;
    pub const SOURCE_POD: usize = 8;
    pub const DESTINATION_POD: usize = 9;
    pub const SOURCE_WORKLOAD: usize = 10;
    pub const DESTINATION_WORKLOAD: usize = 11;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 13;
    pub const UUID: usize = 14;
    pub const REST: usize = 15;
}

/// The schema. `lost` is 0 but where the row is a loss and not a flow; `source` and `destination` are encoded `flow.Endpoint`s,
/// `rest` is the encoded `flow.Flow` without what stands in the other columns, or the `flow.LostEvent`.
pub fn schema() -> Result<TypePtr, ParquetError> {
    let text = "message flow {
        required int64 time (TIMESTAMP(NANOS,true));
        required int64 lost;
        required int32 verdict;
        required int32 drop_reason;
        required int32 source_identity;
        required int32 destination_identity;
        required binary source_ip (UTF8);
        required binary destination_ip (UTF8);
        required binary source_pod (UTF8);
        required binary destination_pod (UTF8);
        required binary source_workload (UTF8);
        required binary destination_workload (UTF8);
        required binary source;
        required binary destination;
        required fixed_len_byte_array(16) uuid;
        required binary rest;
    }";
    Ok(Arc::new(parse_message_type(text)?))
}

/// How they are encoded.
pub fn properties(rows: u64) -> Result<WriterProperties, ParquetError> {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_created_by("malla".to_owned())
        // One row group, whatever the number of rows: what is common to many rows is written once.
        .set_max_row_group_row_count(None)
        .set_dictionary_page_size_limit(DICTIONARY)
        .set_write_batch_size(BATCH)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(column("time"), false)
        .set_column_encoding(column("time"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column("uuid"), false)
        .set_column_dictionary_enabled(column("rest"), false)
        // Small pages: whoever wants one row decompresses one page.
        .set_column_data_page_row_count_limit(column("uuid"), PAGE)
        .set_column_data_page_row_count_limit(column("rest"), PAGE);
    for name in ["source", "destination", "uuid", "rest"] {
        properties = properties.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for name in ["identity", "ip", "pod", "workload"] {
        for side in ["source", "destination"] {
            let column = column(&format!("{side}_{name}"));
            properties = properties
                .set_column_bloom_filter_fpp(column.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(column, rows.max(1));
        }
    }
    Ok(properties.build())
}

/// Rows, column by column. What repeats is held once.
#[derive(Default)]
pub struct Columns {
    pub time: Vec<i64>,
    pub lost: Vec<i64>,
    pub verdict: Vec<i32>,
    pub drop_reason: Vec<i32>,
    pub source: Side,
    pub destination: Side,
    pub uuid: Vec<[u8; 16]>,
    pub rest: Vec<u8>,
    /// Where each row's rest ends.
    pub rest_ends: Vec<usize>,
    pub span: Span,
}

/// One end of the flows.
#[derive(Default)]
pub struct Side {
    pub address: Texts,
    pub endpoint: Texts,
    /// Of each endpoint that there is, what is told of it in columns of its own.
    pub facts: Vec<Facts>,
}

/// Texts or bytes: each row's number, and what the numbers mean.
#[derive(Default)]
pub struct Texts {
    pub rows: Vec<u32>,
    pub values: Vec<ByteArray>,
    numbers: HashMap<Vec<u8>, u32>,
}

/// What is told of an endpoint.
pub struct Facts {
    pub identity: i32,
    pub pod: ByteArray,
    pub workload: ByteArray,
}

impl Columns {
    /// Adds a row; `None` where the frame is none.
    pub fn add(&mut self, frame: Frame<'_>) -> Option<()> {
        let (row, lost) = match frame {
            Frame::Flow(flow) => (Row::split(flow)?, 0),
            Frame::Lost(bytes) => {
                let lost = LostEvent::decode(bytes).ok()?;
                let row = Row {
                    time: lost.last.as_ref().map_or(NO_TIME, nanoseconds),
                    rest: bytes.to_vec(),
                    ..Row::split(&[])?
                };
                // At least 1: a loss of nothing is told as well.
                (row, i64::try_from(lost.num_events_lost).unwrap_or(i64::MAX).max(1))
            }
        };
        self.span.include(row.time);
        self.time.push(row.time);
        self.lost.push(lost);
        self.verdict.push(row.verdict);
        self.drop_reason.push(row.drop_reason);
        self.source.add(&row.source_ip, row.source)?;
        self.destination.add(&row.destination_ip, row.destination)?;
        self.uuid.push(row.uuid);
        self.rest.extend_from_slice(&row.rest);
        self.rest_ends.push(self.rest.len());
        Some(())
    }
}

impl Side {
    fn add(&mut self, address: &str, endpoint: &[u8]) -> Option<()> {
        self.address.add(address.as_bytes());
        self.endpoint.add(endpoint);
        if self.facts.len() < self.endpoint.values.len() {
            self.facts.push(Facts::of(&Endpoint::decode(endpoint).ok()?));
        }
        Some(())
    }
}

impl Facts {
    pub fn of(endpoint: &Endpoint) -> Self {
        let pod = match endpoint.pod_name.as_str() {
            "" => String::new(),
            name => format!("{}/{name}", endpoint.namespace),
        };
        let workload = match endpoint.workloads.as_slice() {
            [] => "",
            [workload] => &workload.name,
            _ => SEVERAL,
        };
        Self { identity: endpoint.identity as i32, pod: pod.as_str().into(), workload: workload.into() }
    }
}

impl Texts {
    fn add(&mut self, bytes: &[u8]) {
        let number = match self.numbers.get(bytes) {
            Some(number) => *number,
            None => {
                let number = self.values.len() as u32;
                self.values.push(bytes.to_vec().into());
                self.numbers.insert(bytes.to_vec(), number);
                number
            }
        };
        self.rows.push(number);
    }
}

/// The workload of an endpoint with more than one: found whichever is looked for, and then seen in the endpoint itself.
pub const SEVERAL: &str = "*";
/// Rows of a page, where that matters.
const PAGE: usize = 512;
/// Rows that are written at once; pages end only in between.
pub const BATCH: usize = 256;
/// Bytes of a dictionary: with more, endpoints would be written as often as they appear.
const DICTIONARY: usize = 16 << 20;
/// zstd's own default: of the higher ones each doubles the time for a few percent.
const LEVEL: i32 = 3;
