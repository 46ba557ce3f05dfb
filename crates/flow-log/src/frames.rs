//! Flows and losses, encoded one after the other: the bytes of a protobuf message with fields 1 (`flow.Flow`) and 3
//! (`flow.LostEvent`), as in Hubble's `ExportEvent`.

use crate::moment::{NO_TIME, nanoseconds};
use flow_api::flow::{Flow, LostEvent, LostEventSource};
use flow_api::wire::{Body, Field, fields};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

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
        // What was left out on purpose is not lost, also where nobody will be told of it.
        if lost.source() != LostEventSource::MallaSampling {
            self.lost = self.lost.saturating_add(lost.num_events_lost);
        }
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
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, &'static str>> {
    fields(bytes).map(|field| match field {
        Some(Field { number: FLOW, body: Body::Bytes(body), .. }) => Ok(Frame::Flow(body)),
        Some(Field { number: LOST, body: Body::Bytes(body), .. }) => Ok(Frame::Lost(body)),
        _ => Err("not a flow and not a loss"),
    })
}

const FLOW: u32 = 1;
const LOST: u32 = 3;
