//! Flows and losses, encoded one after the other: the bytes of a protobuf message with fields 1 (`flow.Flow`) and 3
//! (`flow.LostEvent`), as in Hubble's `ExportEvent`.

use crate::moment::{NO_TIME, nanoseconds};
use flow_api::flow::{Flow, LostEvent};
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Encoded flows and losses.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    /// Flows in it.
    pub flows: u32,
    /// Events whose loss is told in it.
    pub lost: u64,
    /// Flows and losses in it.
    pub rows: u32,
    /// Oldest and newest time in it.
    pub span: Span,
}

/// From the oldest to the newest time: nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: i64,
    pub last: i64,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// An encoded flow.
    Flow(&'a [u8]),
    /// An encoded loss.
    Lost(&'a [u8]),
}

impl Frames {
    pub fn flow(&mut self, flow: &Flow) {
        self.put(FLOW, flow);
        self.flows += 1;
        self.rows += 1;
        self.span.include(flow.time.as_ref().map_or(NO_TIME, nanoseconds));
    }

    pub fn lost(&mut self, lost: &LostEvent) {
        self.put(LOST, lost);
        self.rows += 1;
        self.lost = self.lost.saturating_add(lost.num_events_lost);
        self.span.include(lost.last.as_ref().map_or(NO_TIME, nanoseconds));
    }

    fn put(&mut self, field: u32, message: &impl Message) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(message.encoded_len() as u64, &mut self.bytes);
        message.encode_raw(&mut self.bytes);
    }
}

impl Span {
    /// Holds nothing.
    pub const EMPTY: Self = Self { first: i64::MAX, last: i64::MIN };

    pub fn include(&mut self, time: i64) {
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    pub fn join(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// All of them; the last is `Err` if the bytes are no frames.
pub fn read(mut bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, &'static str>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let frame = next(&mut bytes).ok_or("not a flow and not a loss");
        if frame.is_err() {
            bytes = &[];
        }
        Some(frame)
    })
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (field, WireType::LengthDelimited) = decode_key(bytes).ok()? else { return None };
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (body, _) = bytes.split_at_checked(length)?;
    bytes.advance(length);
    match field {
        FLOW => Some(Frame::Flow(body)),
        LOST => Some(Frame::Lost(body)),
        _ => None,
    }
}

const FLOW: u32 = 1;
const LOST: u32 = 3;
