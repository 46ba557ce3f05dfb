//! Messages as Hubble prints them in JSON: the canonical JSON of Protocol Buffers with the fields' own names, in the
//! order of the `.proto`, on one line, and with the characters that HTML minds escaped (as Go's encoder does).

mod read;

pub use read::answer_from_json;

use crate::{Invalid, pool};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

/// `message`, which is of the type with this full name (`observer.GetFlowsResponse`), as one line without its end.
///
/// # Errors
/// A name that is not in this crate's `.proto` files.
pub fn to_json(name: &str, message: &impl Message) -> Result<String, Invalid> {
    let descriptor = pool().get_message_by_name(name).ok_or_else(|| Invalid::new(name, "no such message"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| Invalid::new(name, error.to_string()))?;
    let mut out = String::new();
    write_message(&mut out, &dynamic);
    Ok(out)
}

fn write_message(out: &mut String, message: &DynamicMessage) {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => return write_timestamp(out, message),
        "google.protobuf.BoolValue" | "google.protobuf.UInt32Value" | "google.protobuf.Int32Value" => {
            // A wrapper is its value.
            let Some(field) = message.descriptor().get_field_by_name("value") else { return };
            return write_value(out, &field, &message.get_field(&field));
        }
        "google.protobuf.FieldMask" => return write_mask(out, message),
        "google.protobuf.Any" => {
            if let Some((url, inner)) = unpacked(message) {
                out.push_str("{\"@type\":");
                write_string(out, &url);
                write_fields(out, &inner, false);
                out.push('}');
                return;
            }
        }
        _ => {}
    }
    out.push('{');
    write_fields(out, message, true);
    out.push('}');
}

/// What is in an `Any`, if its type is one of package `malla`: these hold no `Any` themselves, so that nobody can send one in
/// one in one. Anything else is printed as the two fields that it is.
fn unpacked(any: &DynamicMessage) -> Option<(String, DynamicMessage)> {
    let url = any.get_field_by_name("type_url")?.as_str()?.to_owned();
    let descriptor = pool().get_message_by_name(url.rsplit('/').next()?)?;
    if descriptor.package_name() != "malla" {
        return None;
    }
    let value = any.get_field_by_name("value")?;
    let inner = DynamicMessage::decode(descriptor, value.as_bytes()?.clone()).ok()?;
    Some((url, inner))
}

fn write_fields(out: &mut String, message: &DynamicMessage, mut first: bool) {
    let descriptor = message.descriptor();
    let mut fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    // The pool sorts by number; people read what belongs together.
    fields.sort_by_key(|field| field.path().last().copied());
    for field in fields.iter().filter(|field| message.has_field(field)) {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_string(out, field.name());
        out.push(':');
        match message.get_field(field).as_ref() {
            Value::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_value(out, field, value);
                }
                out.push(']');
            }
            value => write_value(out, field, value),
        }
    }
}

fn write_value(out: &mut String, field: &FieldDescriptor, value: &Value) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::I32(number) => out.push_str(&number.to_string()),
        Value::U32(number) => out.push_str(&number.to_string()),
        // JavaScript's numbers have 53 bits.
        Value::I64(number) => write_string(out, &number.to_string()),
        Value::U64(number) => write_string(out, &number.to_string()),
        Value::F32(number) => write_float(out, f64::from(*number)),
        Value::F64(number) => write_float(out, *number),
        Value::String(text) => write_string(out, text),
        Value::Bytes(bytes) => write_string(out, &base64(bytes)),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => match kind.get_value(*number) {
                Some(value) => write_string(out, value.name()),
                None => out.push_str(&number.to_string()),
            },
            _ => out.push_str(&number.to_string()),
        },
        Value::Message(message) => write_message(out, message),
        // There are no maps in these messages, and lists don't nest.
        Value::List(_) | Value::Map(_) => out.push_str("null"),
    }
}

/// RFC 3339 in UTC, with 0, 3, 6 or 9 digits of a second.
fn write_timestamp(out: &mut String, message: &DynamicMessage) {
    let number = |name: &str| {
        message.get_field_by_name(name).and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).unwrap_or(0)
    };
    let (seconds, nanos) = (number("seconds"), number("nanos"));
    let time = i32::try_from(nanos).ok().and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
    let text = time.map_or_else(String::new, |time| {
        let digits = match nanos {
            0 => "",
            n if n % 1_000_000 == 0 => ".%3f",
            n if n % 1_000 == 0 => ".%6f",
            _ => ".%9f",
        };
        time.strftime(&format!("%Y-%m-%dT%H:%M:%S{digits}Z")).to_string()
    });
    write_string(out, &text);
}

/// Paths in lower camel case, with commas.
fn write_mask(out: &mut String, message: &DynamicMessage) {
    let paths = message.get_field_by_name("paths");
    let paths = paths.as_ref().and_then(|paths| paths.as_list()).unwrap_or_default();
    let paths: Vec<&str> = paths.iter().filter_map(Value::as_str).collect();
    let mut text = String::new();
    let mut raise = false;
    for letter in paths.join(",").chars() {
        match letter {
            '_' => raise = true,
            letter if std::mem::take(&mut raise) => text.push(letter.to_ascii_uppercase()),
            letter => text.push(letter),
        }
    }
    write_string(out, &text);
}

fn write_float(out: &mut String, number: f64) {
    if number.is_finite() {
        out.push_str(&number.to_string());
    } else {
        write_string(
            out,
            if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            },
        );
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
