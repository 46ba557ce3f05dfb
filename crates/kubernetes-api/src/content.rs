//! Reading bodies: JSON or YAML, always a map, never deeper than the parser stands.

use crate::error::ApiError;
use serde_json::Value;

/// JSON; serde_json refuses more than 128 levels.
pub fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("error decoding the body as JSON: {error}")))
}

/// YAML, of which JSON is a part.
pub fn parse_yaml(body: &[u8]) -> Result<Value, ApiError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| ApiError::bad_request(format!("error decoding the body as YAML: {error}")))
}

/// A body by its media type.
pub fn parse_object(media_type: &str, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad_request("the body is empty"));
    }
    let value = match media_type {
        "application/json" | "" | "*/*" => parse_json(body)?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => parse_yaml(body)?,
        other => return Err(ApiError::unsupported_media_type(other, "application/json, application/yaml")),
    };
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body is not an object")) }
}
