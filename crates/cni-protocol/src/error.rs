//! The error object that a plugin prints on standard output, and its codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Version;

/// An error as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg} (CNI code {code}){}{details}", if details.is_empty() { "" } else { ": " })]
pub struct CniError {
    pub code: ErrorCode,
    /// One short sentence.
    pub msg: String,
    /// More, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// What kind of error. 0–99 are the specification's ("Error codes"), from 100 on the plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// The configuration has a field that the plugin cannot honour; `msg` names key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container is unknown or does not exist; the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// An environment variable is missing or wrong; `msg` names it.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO_FAILURE: Self = Self(5);
    /// Something received could not be decoded.
    pub const DECODING_FAILURE: Self = Self(6);
    /// The network configuration contradicts itself or the plugin.
    pub const INVALID_CONFIG: Self = Self(7);
    /// The network namespace is not one (libcni, `types.ErrInvalidNetNS`).
    pub const INVALID_NETNS: Self = Self(8);
    /// A passing condition: the runtime should call again later.
    pub const TRY_AGAIN_LATER: Self = Self(11);
    /// STATUS: no ADD can be served now.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: no ADD can be served now, and running containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CniError {
    #[must_use]
    pub fn new(code: ErrorCode, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// Adds what helps to find the cause.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The object for standard output.
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = json!({ "cniVersion": version.as_str(), "code": self.code.0, "msg": self.msg });
        if !self.details.is_empty() {
            object["details"] = self.details.clone().into();
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_the_specifications() {
        let error = CniError::new(ErrorCode::INVALID_CONFIG, "Invalid Configuration");
        let expected = json!({"cniVersion": "1.1.0", "code": 7, "msg": "Invalid Configuration"});
        assert_eq!(error.to_json(Version::V1_1_0), expected);
        let error = error.with_details("Network 192.168.0.0/31 too small");
        assert_eq!(error.to_json(Version::V1_1_0)["details"], "Network 192.168.0.0/31 too small");
        assert_eq!(error.to_string(), "Invalid Configuration (CNI code 7): Network 192.168.0.0/31 too small");
    }
}
