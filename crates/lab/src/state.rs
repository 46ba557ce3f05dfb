//! What a lab remembers of itself between commands: `state.json`, written whole before anything else is made.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{
    files::{Folders, read_json, write_json},
    spec::LabSpec,
};

/// The content of `state.json`. Processes have files of their own beside it ([`crate::process::ProcessId`]), so that
/// every file has one writer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabState {
    /// Layout of this file; another one is another version's lab.
    pub version: u32,
    pub spec: LabSpec,
    /// The port of the API on the machine's loopback, as `up` picked it.
    pub api_port: u16,
}

/// Why there is no state to go on with.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read {file}: `malla lab down --name {lab}` removes what is left of the lab")]
    Unreadable {
        file: String,
        lab: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "lab {lab} was made by another version of malla (state {found}, this one knows {VERSION}): remove it with `malla lab down --name {lab}`"
    )]
    Version { lab: String, found: u32 },
    #[error("there is no lab {lab}: `malla lab up --name {lab}` makes it")]
    NoLab { lab: String },
}

impl LabState {
    /// The state of a lab that is about to be made.
    #[must_use]
    pub fn new(spec: LabSpec, api_port: u16) -> Self {
        Self { version: VERSION, spec, api_port }
    }

    /// Reads a lab's state; `None` when there is no such lab.
    pub fn load(lab: &str, folders: &Folders) -> Result<Option<Self>, StateError> {
        let file = folders.state();
        // The version alone first: the rest may have another form in another version.
        #[derive(Deserialize)]
        struct OnlyVersion {
            version: u32,
        }
        let unreadable =
            |source| StateError::Unreadable { file: file.display().to_string(), lab: lab.to_owned(), source };
        match read_json::<OnlyVersion>(&file) {
            Ok(OnlyVersion { version: VERSION }) => read_json(&file).map(Some).map_err(unreadable),
            Ok(OnlyVersion { version }) => Err(StateError::Version { lab: lab.to_owned(), found: version }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// As [`LabState::load`], for commands that need the lab.
    pub fn require(lab: &str, folders: &Folders) -> Result<Self, StateError> {
        Self::load(lab, folders)?.ok_or_else(|| StateError::NoLab { lab: lab.to_owned() })
    }

    /// Writes it.
    pub fn save(&self, folders: &Folders) -> io::Result<()> {
        write_json(&folders.state(), self)
    }
}

const VERSION: u32 = 1;
