//! Versions of the specification.

use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use crate::{CniError, ErrorCode};

/// A version of the CNI specification that Malla speaks, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const CURRENT: Self = Self::V1_1_0;

    /// As it stands in `cniVersion`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version in a JSON object's `cniVersion`. Absent or empty means 0.1.0, as for libcni: the field is younger
    /// than the first configurations.
    pub fn of(object: &serde_json::Map<String, Value>) -> Result<Self, CniError> {
        match object.get("cniVersion") {
            None => Ok(Self::V0_1_0),
            Some(Value::String(text)) if text.is_empty() => Ok(Self::V0_1_0),
            Some(Value::String(text)) => text.parse(),
            Some(other) => Err(CniError::new(ErrorCode::DECODING_FAILURE, "cniVersion is not a string")
                .with_details(format!("it is {other}"))),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            CniError::new(ErrorCode::INCOMPATIBLE_VERSION, format!("incompatible CNI version {shown:?}"))
                .with_details(format!("supported are {}", supported().join(", ")))
        })
    }
}

/// The answer to VERSION: the version of the question and all that are supported.
#[must_use]
pub fn version_answer(asked: Version) -> Value {
    json!({ "cniVersion": asked.as_str(), "supportedVersions": supported() })
}

fn supported() -> Vec<&'static str> {
    Version::ALL.iter().map(|version| version.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_releases() {
        assert!(Version::ALL.is_sorted());
        assert_eq!(Version::ALL.last(), Some(&Version::CURRENT));
        for version in Version::ALL {
            assert_eq!(version.as_str().parse::<Version>().unwrap(), version);
        }
    }

    #[test]
    fn unknown_versions_are_code_1_and_name_the_known() {
        for text in ["1.2.0", "0.9", "1.1", "", "v1.0.0", &"9".repeat(10_000)] {
            let error = text.parse::<Version>().unwrap_err();
            assert_eq!(error.code, ErrorCode::INCOMPATIBLE_VERSION);
            assert!(error.details.contains("1.1.0") && error.msg.len() < 100);
        }
    }

    #[test]
    fn absent_means_the_first() {
        assert_eq!(Version::of(&serde_json::Map::new()).unwrap(), Version::V0_1_0);
        let number = json!({"cniVersion": 1});
        assert_eq!(Version::of(number.as_object().unwrap()).unwrap_err().code, ErrorCode::DECODING_FAILURE);
    }
}
