//! Kubernetes' protobuf bodies, which kubectl from 1.33 on sends where it creates objects itself (`kubectl create
//! configmap`): the envelope of apimachinery `pkg/runtime/serializer/protobuf`, then messages as in the
//! `generated.proto` files. Read only: answers are JSON, which all clients take.
//!
//! `protobuf.json` is those files' field numbers, from the descriptors that kubectl 1.33 carries. Per message:
//! number -> `name:type`; types are s(tring), i(nteger), b(ool), y (bytes), `@Message`; `*` before it: repeated; `%`:
//! map of; `!`: never absent in Go, so that its zero value means absence in JSON. An empty name is an embedded struct.

use crate::error::ApiError;
use base64::Engine;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

type Messages = HashMap<String, HashMap<String, String>>;

/// Deepest nesting of messages.
const MAX_DEPTH: usize = 60;

/// Reads a body. `definition` names the message by the kind inside.
pub fn parse(body: &[u8], definition: impl Fn(&str, &str) -> Option<String>) -> Result<Value, ApiError> {
    let broken = |why: &str| ApiError::bad_request(format!("error decoding the body as protobuf: {why}"));
    let envelope = body.strip_prefix(b"k8s\0").ok_or_else(|| broken("it does not begin with the magic number"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field.map_err(broken)? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field.map_err(broken)? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name =
        definition(&api_version, &kind).ok_or_else(|| broken(&format!("unknown kind {api_version:?} {kind:?}")))?;
    // Parsed anew each time: bodies of this kind are rare, and the table is not worth memory in between.
    let messages: Messages = serde_json::from_str(include_str!("protobuf.json")).map_err(ApiError::internal)?;
    let mut object = Map::new();
    message(&messages, &name, raw, &mut object, 0).map_err(|why| broken(&why))?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Fixed widths: only doubles, which no kind here has.
    Other,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or("it is cut short")?;
            self.0 = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(length).map_err(|_| "a length is too long")?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), &'static str> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => self.take(8).map(|_| Wire::Other)?,
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Other)?,
            _ => return Err("a wire type is unknown"),
        };
        Ok((key >> 3, wire))
    }
}

fn message(
    messages: &Messages,
    name: &str,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".into());
    }
    let fields = messages.get(name).ok_or_else(|| format!("message {name} is unknown"))?;
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let Some((json_name, kind)) = fields.get(&number.to_string()).and_then(|field| field.split_once(':')) else {
            continue;
        };
        if json_name.is_empty() {
            let (Wire::Bytes(inner), Some(embedded)) = (wire, kind.trim_start_matches('!').strip_prefix('@')) else {
                continue;
            };
            message(messages, embedded, inner, out, depth + 1)?;
            continue;
        }
        if let Some(item) = kind.strip_prefix('*') {
            let value = one(messages, item, wire, depth)?;
            let list = out.entry(json_name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value);
            }
        } else if let Some(item) = kind.strip_prefix('%') {
            let Wire::Bytes(entry) = wire else { continue };
            let (mut key, mut value) = (String::new(), zero(item));
            for field in Fields(entry) {
                match field? {
                    (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                    (2, wire) => value = one(messages, item, wire, depth)?,
                    _ => {}
                }
            }
            let map = out.entry(json_name).or_insert_with(|| Value::Object(Map::new()));
            map[key] = value;
        } else {
            let never_absent = kind.starts_with('!');
            let value = one(messages, kind.trim_start_matches('!'), wire, depth)?;
            let is_zero = matches!(&value, Value::Null)
                || value == ""
                || value == 0
                || value == false
                || value == Value::Object(Map::new());
            let absent = value.is_null() || (never_absent && is_zero);
            if !absent {
                out.insert(json_name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn zero(kind: &str) -> Value {
    match kind {
        "i" => 0.into(),
        "b" => false.into(),
        "s" | "y" => "".into(),
        _ => Value::Object(Map::new()),
    }
}

fn one(messages: &Messages, kind: &str, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    let special = kind.strip_prefix("@io.k8s.apimachinery.pkg.").unwrap_or("");
    Ok(match (kind, wire) {
        // Negative numbers come as 64 bit two's complement.
        ("i", Wire::Number(number)) => i64::from_ne_bytes(number.to_ne_bytes()).into(),
        ("b", Wire::Number(number)) => (number != 0).into(),
        ("s", Wire::Bytes(text)) => std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?.into(),
        ("y", Wire::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (_, Wire::Bytes(inner)) if !special.is_empty() => match special {
            "apis.meta.v1.Time" | "apis.meta.v1.MicroTime" => time(inner, special.ends_with("MicroTime"))?,
            "api.resource.Quantity" => first_text(inner)?.into(),
            "util.intstr.IntOrString" => int_or_string(inner)?,
            "apis.meta.v1.FieldsV1" | "runtime.RawExtension" => {
                serde_json::from_slice(first_bytes(inner)?).unwrap_or(Value::Null)
            }
            _ => nested(messages, &kind[1..], inner, depth)?,
        },
        (message_kind, Wire::Bytes(inner)) if message_kind.starts_with('@') => {
            nested(messages, &message_kind[1..], inner, depth)?
        }
        _ => return Err(format!("a field of type {kind} has another wire type")),
    })
}

fn nested(messages: &Messages, name: &str, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut object = Map::new();
    message(messages, name, bytes, &mut object, depth + 1)?;
    Ok(Value::Object(object))
}

fn first_bytes(bytes: &[u8]) -> Result<&[u8], String> {
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(found)) = field? {
            return Ok(found);
        }
    }
    Ok(&[])
}

fn first_text(bytes: &[u8]) -> Result<String, String> {
    Ok(String::from_utf8_lossy(first_bytes(bytes)?).into_owned())
}

/// `{ seconds = 1; nanos = 2 }`; a zero time is an empty message.
fn time(bytes: &[u8], micro: bool) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => seconds = i64::from_ne_bytes(number.to_ne_bytes()),
            (2, Wire::Number(number)) => nanos = i32::try_from(number).unwrap_or(0),
            _ => {}
        }
    }
    if bytes.is_empty() || (seconds == 0 && nanos == 0) {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|error| format!("a time: {error}"))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(format).to_string().into())
}

/// `{ type = 1; intVal = 2; strVal = 3 }`; type 0 is the number.
fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0_i64, String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(found)) => number = i64::from_ne_bytes(found.to_ne_bytes()),
            (3, Wire::Bytes(found)) => text = String::from_utf8_lossy(found).into_owned(),
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    fn config_map(_: &str, kind: &str) -> Option<String> {
        (kind == "ConfigMap").then(|| "io.k8s.api.core.v1.ConfigMap".into())
    }

    #[test]
    fn a_config_map_as_kubectl_sends_it() {
        let metadata = [field(1, b"x"), field(2, b""), field(8, b"")].concat();
        let data = [field(1, b"a"), field(2, b"b")].concat();
        let body = envelope("v1", "ConfigMap", &[field(1, &metadata), field(2, &data)].concat());
        let object = parse(&body, config_map).unwrap();
        assert_eq!(
            object,
            serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": { "a": "b" } })
        );
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let body = envelope("v1", "ConfigMap", &field(1, &field(1, b"x")));
        for cut in 0..body.len() {
            let _ = parse(&body[..cut], config_map);
        }
        assert!(parse(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", config_map).is_err());
        assert!(parse(&envelope("v1", "Other", &[]), config_map).is_err());
        assert!(parse(b"{}", config_map).is_err());
        assert!(parse(&envelope("v1", "ConfigMap", b"\x0a\x7f"), config_map).is_err());
    }
}
