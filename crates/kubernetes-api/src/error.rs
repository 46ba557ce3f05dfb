//! Failures as Kubernetes tells them: a `Status` object with reason, code and causes
//! (apimachinery `pkg/apis/meta/v1`, `Status`).

use serde_json::{Value, json};

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, …
    pub reason: &'static str,
    /// What is wrong, without the field.
    pub message: String,
    /// Path of the field, as `spec.ports[0].nodePort`.
    pub field: String,
}

impl Cause {
    /// A field that must be there.
    pub fn required(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueRequired", message: message.into(), field: field.into() }
    }

    /// A value that is not allowed here.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        Self { reason: "FieldValueInvalid", message: format!("Invalid value: {}: {message}", value.into()), field }
    }

    /// A value outside of a closed list.
    pub fn unsupported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let message = format!("Unsupported value: {value:?}: supported values: {}", list.join(", "));
        Self { reason: "FieldValueNotSupported", message, field: field.into() }
    }

    /// A value that another item of the list has already.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {}", value.into()),
            field: field.into(),
        }
    }

    /// Something that must not be set or changed.
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {}", message.into()), field: field.into() }
    }

    fn text(&self) -> String {
        let prefix = if self.reason == "FieldValueRequired" { "Required value: " } else { "" };
        format!("{}: {prefix}{}", self.field, self.message)
    }

    fn to_json(&self) -> Value {
        let prefix = if self.reason == "FieldValueRequired" { "Required value: " } else { "" };
        json!({ "reason": self.reason, "message": format!("{prefix}{}", self.message), "field": self.field })
    }
}

/// A refused request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' `StatusReason`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `StatusDetails`, or null.
    pub details: Value,
}

impl ApiError {
    /// Any failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 for one object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(plural, group));
        let details = json!({ "name": name, "group": group, "kind": plural });
        Self { details, ..Self::new(404, "NotFound", message) }
    }

    /// 404 for a path nobody serves; the text is what clients look for.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(plural, group));
        let details = json!({ "name": name, "group": group, "kind": plural });
        Self { details, ..Self::new(409, "AlreadyExists", message) }
    }

    /// 409: somebody else was faster.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(plural, group));
        let details = json!({ "name": name, "group": group, "kind": plural });
        Self { details, ..Self::new(409, "Conflict", message) }
    }

    /// 422: fields are wrong.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(Cause::text).collect();
        let list = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} {name:?} is invalid: {list}", qualified(kind, group));
        let causes: Vec<Value> = causes.iter().map(Cause::to_json).collect();
        let details = json!({ "name": name, "group": group, "kind": kind, "causes": causes });
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    /// 403.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", qualified(plural, group));
        let details = json!({ "name": name, "group": group, "kind": plural });
        Self { details, ..Self::new(403, "Forbidden", message) }
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// 410: list anew.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415.
    pub fn unsupported_media_type(got: &str, supported: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({got:?}) - accepted media types include: {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// The `Status` object of this failure.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl From<object_store::StoreError> for ApiError {
    fn from(error: object_store::StoreError) -> Self {
        use object_store::StoreError;
        match error {
            StoreError::Compacted { asked, oldest } => {
                Self::expired(format!("too old resource version: {asked} ({oldest})"))
            }
            StoreError::Future { asked, current } => {
                let message = format!("Too large resource version: {asked}, current: {current}");
                let details = json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }], "retryAfterSeconds": 1 });
                Self { details, ..Self::new(504, "Timeout", message) }
            }
            StoreError::Conflict { key, .. } => Self::new(409, "Conflict", format!("{key} was changed meanwhile")),
            other @ (StoreError::Journal { .. } | StoreError::Closed) => Self::internal(other),
        }
    }
}

/// `deployments.apps`, or `pods` in the core group.
fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
