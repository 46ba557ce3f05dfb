//! The kinds of patch that a client may send.

mod merge;
mod strategic;

pub use merge::merge_patch;
pub use strategic::strategic_patch;

use crate::error::ApiError;
use crate::registry::Resource;
use crate::schema::definitions;
use serde_json::Value;

/// A patch, parsed.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own, by the kind's merge keys.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

/// What is supported, for refusals.
pub const SUPPORTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Patch {
    /// Reads a body by its media type.
    pub fn parse(media_type: &str, body: &[u8], resource: &Resource) -> Result<Self, ApiError> {
        let json = |body: &[u8]| -> Result<Value, ApiError> {
            let value = crate::content::parse_json(body)?;
            if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("a patch must be a map")) }
        };
        match media_type {
            "application/json-patch+json" => serde_json::from_slice(body)
                .map(Self::Json)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}"))),
            "application/merge-patch+json" => Ok(Self::Merge(json(body)?)),
            "application/strategic-merge-patch+json" if resource.is_custom() => Err(ApiError::unsupported_media_type(
                media_type,
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(json(body)?)),
            "application/apply-patch+yaml" => Ok(Self::Apply(crate::content::parse_yaml(body)?)),
            other => Err(ApiError::unsupported_media_type(other, SUPPORTED)),
        }
    }

    /// The object after the patch.
    pub fn apply(&self, resource: &Resource, object: &Value) -> Result<Value, ApiError> {
        let mut patched = object.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut patched, patch).map_err(|error| {
                ApiError::new(
                    422,
                    "Invalid",
                    format!("the server rejected our request due to an error in our request: {error}"),
                )
            })?,
            Self::Merge(patch) => merge_patch(&mut patched, patch),
            Self::Strategic(patch) => {
                let shape = definitions().shape(resource.definition.as_deref().unwrap_or(""));
                strategic_patch(&shape, &mut patched, patch)?;
            }
            Self::Apply(_) => return Err(ApiError::internal("an apply patch is not applied here")),
        }
        Ok(patched)
    }
}
