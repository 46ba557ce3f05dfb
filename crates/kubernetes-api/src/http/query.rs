use super::path::decode;
use crate::error::ApiError;

/// The query of a request: names may repeat, order does not matter.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`; `+` is a space.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let read = |text: &str| {
                decode(&text.replace('+', " "))
                    .ok_or_else(|| ApiError::bad_request(format!("the query has a broken escape in {part:?}")))
            };
            pairs.push((read(name)?, read(value)?));
        }
        Ok(Self(pairs))
    }

    /// A value, or "".
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// `true`, `1` or present without a value.
    pub fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(found, value)| found == name && matches!(value.as_str(), "true" | "1" | "True" | ""))
    }

    /// A number; absent is None, anything else is refused.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("invalid value for {name}: {text:?}")))
            }
        }
    }

    /// Whether nothing shall be stored. Kubernetes knows only `All`.
    pub fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                Err(ApiError::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
            }
        }
    }
}

impl Query {
    /// Replaces a value.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(found, _)| found != name);
        self.0.push((name.to_owned(), value));
    }
}
