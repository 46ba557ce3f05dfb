//! What can go wrong between a plan and the API server.

/// Result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on the API server, or a controller that ended although it should not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{operation} {kind} {name}")]
    Api {
        /// `create`, `patch`, `delete` …
        operation: &'static str,
        /// Kind of the object, e.g. `Pod`.
        kind: &'static str,
        /// `namespace/name`, or the name alone where there is no namespace.
        name: String,
        /// What the client library reports.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object could not be turned into JSON; a mistake in a plan.
    #[error("encode {kind} {name}")]
    Encode {
        /// Kind of the object.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// What serde reports.
        #[source]
        source: serde_json::Error,
    },
    /// Another replica may be writing what only one may write.
    #[error("this replica does not lead any more")]
    NotLeading,
    /// A task of the controllers ended by a panic.
    #[error("controller task {name} ended unexpectedly")]
    TaskEnded {
        /// Name of the task.
        name: String,
    },
}

impl Error {
    /// True when somebody else changed the object first; the next plan sees that change.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// True when the object is gone already, which is what most callers of a delete wanted.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// True when an object of that name exists already.
    pub fn is_already_exists(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.reason == "AlreadyExists")
            }
            _ => false,
        }
    }

    /// The message of the API server's `Status`, or the whole chain when it never answered.
    pub fn message(&self) -> String {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}
