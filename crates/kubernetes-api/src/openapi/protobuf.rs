//! gnostic's protobuf form of OpenAPI v2 (github.com/google/gnostic `openapiv2/OpenAPIv2.proto`), for the parts that
//! [`super::document`] makes. Field numbers are that file's. Vendor extensions are an `Any` with YAML text.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// The whole document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document["swagger"].as_str().unwrap_or("2.0"));
    let mut info = Message::default();
    info.text(1, document["info"]["title"].as_str().unwrap_or(""));
    info.text(2, document["info"]["version"].as_str().unwrap_or(""));
    out.message(2, info);
    let mut paths = Message::default();
    for (path, item) in entries(&document["paths"]) {
        paths.named(2, path, path_item(item));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, schema) in entries(&document["definitions"]) {
        definitions.named(1, name, encode_schema(schema));
    }
    out.message(9, definitions);
    out.0
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// message PathItem
fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(number, operation(&item[method]));
        }
    }
    out
}

/// message Operation
fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.text(5, operation["operationId"].as_str().unwrap_or(""));
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        // ParametersItem.parameter -> Parameter.non_body_parameter -> NonBodyParameter.query_parameter_sub_schema
        let mut query = Message::default();
        query.text(2, "query");
        query.text(4, parameter["name"].as_str().unwrap_or(""));
        query.text(6, parameter["type"].as_str().unwrap_or("string"));
        let (mut non_body, mut wrapped, mut item) = (Message::default(), Message::default(), Message::default());
        non_body.message(3, query);
        wrapped.message(2, non_body);
        item.message(1, wrapped);
        out.message(8, item);
    }
    let mut responses = Message::default();
    for (code, response) in entries(&operation["responses"]) {
        // NamedResponseValue.value = ResponseValue.response = Response { description, schema: SchemaItem { schema } }
        let mut inner = Message::default();
        inner.text(1, response["description"].as_str().unwrap_or(""));
        let mut item = Message::default();
        item.message(1, encode_schema(&response["schema"]));
        inner.message(2, item);
        let mut value = Message::default();
        value.message(1, inner);
        responses.named(1, code, value);
    }
    out.message(9, responses);
    extensions(&mut out, 13, operation);
    out
}

/// message Schema
fn encode_schema(schema: &Value) -> Message {
    let mut out = Message::default();
    let text = |key: &str| schema[key].as_str().unwrap_or("");
    for (number, key) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        if !text(key).is_empty() {
            out.text(number, text(key));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.text(19, name);
    }
    if schema["additionalProperties"].is_object() {
        // AdditionalPropertiesItem.schema
        let mut item = Message::default();
        item.message(1, encode_schema(&schema["additionalProperties"]));
        out.message(21, item);
    }
    if !text("type").is_empty() {
        // TypeItem.value
        let mut item = Message::default();
        item.text(1, text("type"));
        out.message(22, item);
    }
    if schema["items"].is_object() {
        // ItemsItem.schema
        let mut item = Message::default();
        item.message(1, encode_schema(&schema["items"]));
        out.message(23, item);
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        for (name, property) in entries(&schema["properties"]) {
            properties.named(1, name, encode_schema(property));
        }
        out.message(25, properties);
    }
    extensions(&mut out, 31, schema);
    out
}

/// `repeated NamedAny vendor_extension`: every `x-…` key.
fn extensions(out: &mut Message, number: u32, value: &Value) {
    for (name, extension) in entries(value).filter(|(name, _)| name.starts_with("x-")) {
        // message Any { google.protobuf.Any value = 1; string yaml = 2; }; JSON is YAML.
        let mut any = Message::default();
        any.text(2, &format!("{extension}\n"));
        out.named(number, name, any);
    }
}

/// Bytes of a message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    fn message(&mut self, number: u32, message: Message) {
        self.bytes(number, &message.0);
    }

    /// All of gnostic's Named… messages are `{ string name = 1; T value = 2; }`.
    fn named(&mut self, number: u32, name: &str, value: Message) {
        let mut pair = Message::default();
        pair.text(1, name);
        pair.message(2, value);
        self.message(number, pair);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }
}
