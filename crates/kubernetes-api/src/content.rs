//! Reading bodies: JSON or YAML, always a map, never deeper than the parser stands.

mod protobuf;

use crate::error::ApiError;
use crate::registry::Registry;
use serde_json::Value;

/// JSON; serde_json refuses more than 128 levels.
pub fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding the body as JSON: {error}")))
}

/// YAML, of which JSON is a part.
pub fn parse_yaml(body: &[u8]) -> Result<Value, ApiError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error decoding the body as YAML: {error}")))
}

/// The message of a kind that clients send in protobuf.
fn definition_of(api_version: &str, kind: &str) -> Option<String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let package = match (group, kind) {
        // The same options in every group.
        (_, "DeleteOptions") => return Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".into()),
        ("", "Binding") => "io.k8s.api.core",
        ("policy", "Eviction") => "io.k8s.api.policy",
        ("autoscaling", "Scale") => "io.k8s.api.autoscaling",
        _ => return Registry::with_builtin().find_kind(group, version, kind)?.definition.clone(),
    };
    (version == "v1").then(|| format!("{package}.v1.{kind}"))
}

/// Options of a deletion: JSON, YAML or protobuf; no body is no options.
pub fn parse_options(media_type: &str, body: &[u8]) -> Result<Value, ApiError> {
    match (body.is_empty(), media_type) {
        (true, _) => Ok(Value::Null),
        (false, protobuf::MEDIA_TYPE) => protobuf::parse(body, definition_of),
        _ => parse_yaml(body),
    }
}

/// A body by its media type.
pub fn parse_object(media_type: &str, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad_request("the body is empty"));
    }
    let value = match media_type {
        "application/json" | "" | "*/*" => parse_json(body)?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => parse_yaml(body)?,
        protobuf::MEDIA_TYPE => protobuf::parse(body, definition_of)?,
        other => {
            let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(ApiError::unsupported_media_type(other, known));
        }
    };
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body is not an object")) }
}
