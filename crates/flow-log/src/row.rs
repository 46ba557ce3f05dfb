//! A flow in pieces: what is a column of its own, and the rest. Works on the encoded flow, without decoding it.
//!
//! The pieces are put together by writing them one after the other: in Protocol Buffers that is how messages are merged,
//! and of a scalar the later one counts. So what has no exact place in a column (an address that is written in an unusual way) just
//! stays in the rest, which comes last.

use crate::moment::{NO_TIME, exact, nanoseconds, timestamp};
use flow_api::flow::Flow;
use flow_api::wire::{Body, Field, fields, put};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::Timestamp;
use std::net::IpAddr;
use uuid::Uuid;

/// The pieces of one flow.
#[derive(Debug)]
pub struct Row<'a> {
    /// Nanoseconds since 1970.
    pub time: i64,
    pub verdict: i32,
    pub drop_reason: i32,
    /// Canonical text; empty: none.
    pub source_ip: String,
    pub destination_ip: String,
    /// An encoded `flow.Endpoint`; empty: none.
    pub source: &'a [u8],
    pub destination: &'a [u8],
    /// All 0: the rest has it, if anybody.
    pub uuid: [u8; 16],
    /// Everything else, encoded.
    pub rest: Vec<u8>,
}

impl<'a> Row<'a> {
    /// Takes an encoded flow apart; `None` where it is none.
    pub fn split(flow: &'a [u8]) -> Option<Self> {
        let mut row = Row {
            time: NO_TIME,
            verdict: 0,
            drop_reason: 0,
            source_ip: String::new(),
            destination_ip: String::new(),
            source: &[],
            destination: &[],
            uuid: [0; 16],
            rest: Vec::new(),
        };
        for field in fields(flow) {
            if !row.take(field?)? {
                row.rest.extend_from_slice(field?.whole);
            }
        }
        Some(row)
    }

    /// Whether the field has its place in a column.
    fn take(&mut self, field: Field<'a>) -> Option<bool> {
        Some(match (field.number, field.body) {
            (TIME, Body::Bytes(bytes)) => {
                let time = Timestamp::decode(bytes).ok()?;
                self.time = nanoseconds(&time);
                exact(&time).is_some()
            }
            (VERDICT, Body::Number(number)) => {
                self.verdict = number as i32;
                true
            }
            (DROP_REASON, Body::Number(number)) => {
                self.drop_reason = number as i32;
                true
            }
            (UUID, Body::Bytes(text)) => match parse_uuid(text) {
                Some(uuid) => {
                    self.uuid = uuid;
                    true
                }
                None => false,
            },
            (IP, Body::Bytes(ip)) => {
                self.split_addresses(ip)?;
                true
            }
            (SOURCE, Body::Bytes(endpoint)) if !endpoint.is_empty() && self.source.is_empty() => {
                self.source = endpoint;
                true
            }
            (DESTINATION, Body::Bytes(endpoint)) if !endpoint.is_empty() && self.destination.is_empty() => {
                self.destination = endpoint;
                true
            }
            _ => false,
        })
    }

    fn split_addresses(&mut self, ip: &[u8]) -> Option<()> {
        let mut left = Vec::new();
        for field in fields(ip) {
            let field = field?;
            let place = match field.number {
                IP_SOURCE => &mut self.source_ip,
                IP_DESTINATION => &mut self.destination_ip,
                _ => {
                    left.extend_from_slice(field.whole);
                    continue;
                }
            };
            let Body::Bytes(text) = field.body else { return None };
            let text = std::str::from_utf8(text).ok()?;
            // What is no address, or is written in another way, is found by its canonical text and told as it was.
            *place = text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string());
            if place != text {
                left.extend_from_slice(field.whole);
            }
        }
        if !left.is_empty() || (self.source_ip.is_empty() && self.destination_ip.is_empty()) {
            put(&mut self.rest, IP, &left);
        }
        Some(())
    }

    /// The flow that was taken apart.
    pub fn join(&self) -> Option<Flow> {
        let mut bytes = Vec::with_capacity(self.rest.len() + self.source.len() + self.destination.len() + 160);
        // Two times would become one that is neither.
        let in_rest = fields(&self.rest).flatten().any(|field| field.number == TIME);
        if self.time != NO_TIME && !in_rest {
            put(&mut bytes, TIME, &timestamp(self.time).encode_to_vec());
        }
        for (number, value) in [(VERDICT, self.verdict), (DROP_REASON, self.drop_reason)] {
            if value != 0 {
                encode_key(number, WireType::Varint, &mut bytes);
                // As prost writes an enum's number and a uint32: the one extends its sign, the other does not.
                let value = if number == VERDICT { i64::from(value) as u64 } else { u64::from(value as u32) };
                encode_varint(value, &mut bytes);
            }
        }
        if self.uuid != [0; 16] {
            let mut text = Uuid::encode_buffer();
            put(&mut bytes, UUID, Uuid::from_bytes(self.uuid).hyphenated().encode_lower(&mut text).as_bytes());
        }
        let mut ip = Vec::new();
        for (number, text) in [(IP_SOURCE, &self.source_ip), (IP_DESTINATION, &self.destination_ip)] {
            if !text.is_empty() {
                put(&mut ip, number, text.as_bytes());
            }
        }
        for (number, body) in [(IP, ip.as_slice()), (SOURCE, self.source), (DESTINATION, self.destination)] {
            if !body.is_empty() {
                put(&mut bytes, number, body);
            }
        }
        bytes.extend_from_slice(&self.rest);
        Flow::decode(bytes.as_slice()).ok()
    }
}

/// Only as it is written again (RFC 9562 §4: 8-4-4-4-12 in small letters), and not the one that stands for none.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let uuid = Uuid::try_parse_ascii(text).ok()?;
    let again = uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes() == text;
    (again && !uuid.is_nil()).then(|| uuid.into_bytes())
}

// Numbers in `flow.proto`.
const TIME: u32 = 1;
const VERDICT: u32 = 2;
const DROP_REASON: u32 = 3;
const IP: u32 = 5;
const SOURCE: u32 = 8;
const DESTINATION: u32 = 9;
const UUID: u32 = 34;
const IP_SOURCE: u32 = 1;
const IP_DESTINATION: u32 = 2;
