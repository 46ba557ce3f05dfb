//! The OpenAPI documents: v2 in JSON and in gnostic's protobuf (kubectl up to 1.26 takes nothing else), v3 per group.

mod document;
mod protobuf;

use crate::api::Api;
use crate::error::ApiError;
use crate::http::{Answer, raw_answer};
use serde_json::Value;

pub use document::{v3_document, v3_index};

/// Asked for as `…v2@v1.0+protobuf`, which is no valid media type: Go's parser refuses it in an answer, so that
/// Kubernetes too answers with a dot.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v2`, in the form asked for. Made anew each time: it is asked for seldom, and kept it would cost more
/// memory than everything else.
pub fn v2(api: &Api, accept: &str) -> Result<Answer, ApiError> {
    let document: Value = document::v2(&api.registry.load());
    let wants_protobuf = accept.split(',').any(|item| {
        let media = item.split(';').next().unwrap_or("").trim();
        media.starts_with("application/com.github.proto-openapi.spec.v2")
    });
    if wants_protobuf {
        return Ok(raw_answer(200, PROTOBUF, protobuf::encode(&document)));
    }
    Ok(raw_answer(200, "application/json", document.to_string()))
}
