//! Encoded messages, field by field, without decoding them (Protocol Buffers' "Encoding").

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// A field of an encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// As in the `.proto` file.
    pub number: u32,
    /// With its key.
    pub whole: &'a [u8],
    /// What it holds.
    pub body: Body<'a>,
}

/// What a field holds, as far as it can be told without knowing its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A varint: numbers, booleans, enums.
    Number(u64),
    /// Text, bytes, a message, packed numbers.
    Bytes(&'a [u8]),
    /// Four or eight bytes.
    Fixed(&'a [u8]),
}

/// All fields, in order; the last is `None` where the bytes are no message. Groups, which proto3 does not have, are none.
pub fn fields(mut message: &[u8]) -> impl Iterator<Item = Option<Field<'_>>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let field = next(&mut message);
        if field.is_none() {
            message = &[];
        }
        Some(field)
    })
}

/// Writes a field of text, bytes, or an encoded message.
pub fn put(out: &mut Vec<u8>, number: u32, body: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}

fn next<'a>(message: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *message;
    let (number, wire) = decode_key(message).ok()?;
    let body = match wire {
        WireType::Varint => Body::Number(decode_varint(message).ok()?),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(message).ok()?).ok()?;
            Body::Bytes(take(message, length)?)
        }
        WireType::ThirtyTwoBit => Body::Fixed(take(message, 4)?),
        WireType::SixtyFourBit => Body::Fixed(take(message, 8)?),
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    Some(Field { number, whole: &start[..start.len() - message.len()], body })
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, _) = message.split_at_checked(length)?;
    message.advance(length);
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_one_by_one_and_what_is_none_ends_them() {
        // Field 1: 300; field 2: "ab"; field 3: four bytes.
        let message = [0x08, 0xac, 0x02, 0x12, 2, b'a', b'b', 0x1d, 1, 2, 3, 4];
        let told: Vec<_> = fields(&message).map(|field| field.map(|field| (field.number, field.body))).collect();
        let whole = [(1, Body::Number(300)), (2, Body::Bytes(b"ab")), (3, Body::Fixed(&[1, 2, 3, 4]))].map(Some);
        assert_eq!(told, whole);
        assert_eq!(fields(&message).flatten().flat_map(|field| field.whole).copied().collect::<Vec<_>>(), message);
        for wrong in [&message[..2], &message[..6], &message[..11], &[0x0b], &[0]] {
            assert_eq!(fields(wrong).last(), Some(None), "{wrong:?}");
        }
        let mut out = Vec::new();
        put(&mut out, 2, b"ab");
        assert_eq!(out, message[3..7]);
    }
}
