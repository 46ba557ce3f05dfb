//! Changes: what is done to an object between its body and the store.

mod create;
mod delete;
mod prepare;
mod update;

pub use create::create;
pub use delete::{DeleteOptions, Deleted, delete};
pub use prepare::known_fields;
pub use update::{Part, update};

use crate::error::ApiError;
use crate::http::Query;

/// What to do about fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn: Kubernetes' default.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of one change, and the warnings it caused.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// About unknown fields.
    pub field_validation: FieldValidation,
    /// Who writes, for `managedFields`.
    pub field_manager: String,
    /// The change is a server-side apply and has settled `managedFields` itself.
    pub applied: bool,
    /// For the `Warning` header.
    pub warnings: Vec<String>,
}

impl WriteOptions {
    /// From a request's query.
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        let field_validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => return Err(ApiError::bad_request(format!("fieldValidation: Unsupported value: {other:?}"))),
        };
        Ok(Self {
            dry_run: query.dry_run()?,
            field_validation,
            field_manager: query.get("fieldManager").to_owned(),
            ..Self::default()
        })
    }

    pub(crate) fn unknown_fields(&mut self, unknown: &[String]) -> Result<(), ApiError> {
        match self.field_validation {
            _ if unknown.is_empty() => Ok(()),
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                for field in unknown {
                    let warning = format!("unknown field {field:?}");
                    if !self.warnings.contains(&warning) {
                        self.warnings.push(warning);
                    }
                }
                Ok(())
            }
            FieldValidation::Strict => {
                let list: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
                Err(ApiError::bad_request(format!("strict decoding error: {}", list.join(", "))))
            }
        }
    }
}
