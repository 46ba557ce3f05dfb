//! How the plugin speaks to the agent: over a unix socket, one request per connection.
//!
//! Each side sends one message: its length as 4 bytes, big-endian, then that many bytes of JSON, at most
//! [`MAX_MESSAGE`]. The answer is `{"ok": <result or null>}` or `{"error": {"code", "msg", "details"}}`. A result has
//! the form of the configuration's `cniVersion` already; the plugin only prints it.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{CniError, Command, Environment, ErrorCode};

/// Where the agent listens if the configuration's `socket` does not say otherwise.
pub const DEFAULT_PATH: &str = "/run/malla/cni.sock";

/// Longest message, in bytes. A GC of 5,000 attachments has about half of it.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The plugin's request: its environment and its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    #[serde(default)]
    pub container_id: String,
    /// `CNI_NETNS`.
    #[serde(default)]
    pub netns: String,
    /// `CNI_IFNAME`.
    #[serde(default)]
    pub ifname: String,
    /// `CNI_ARGS`.
    #[serde(default)]
    pub args: String,
    /// `CNI_PATH`.
    #[serde(default)]
    pub path: String,
    /// Standard input.
    pub config: Value,
}

impl Request {
    #[must_use]
    pub fn new(environment: Environment, config: Value) -> Self {
        let Environment { command, container_id, netns, ifname, args, path } = environment;
        Self { command: command.as_str().to_owned(), container_id, netns, ifname, args, path, config }
    }

    /// The environment, validated as the plugin did it: the socket trusts nobody.
    pub fn environment(&self) -> Result<Environment, CniError> {
        let environment = Environment {
            command: self.command.parse::<Command>()?,
            container_id: self.container_id.clone(),
            netns: self.netns.clone(),
            ifname: self.ifname.clone(),
            args: self.args.clone(),
            path: self.path.clone(),
        };
        environment.validate()?;
        Ok(environment)
    }
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// ADD: the result. Others: null.
    Ok(Value),
    Error(CniError),
}

impl From<Result<Value, CniError>> for Response {
    fn from(result: Result<Value, CniError>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(error),
        }
    }
}

impl From<Response> for Result<Value, CniError> {
    fn from(response: Response) -> Self {
        match response {
            Response::Ok(value) => Ok(value),
            Response::Error(error) => Err(error),
        }
    }
}

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    #[error("{operation} the CNI socket")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a CNI message of {0} bytes exceeds {MAX_MESSAGE}")]
    TooLong(u64),
    #[error("the CNI connection ended after {got} of {expected} bytes")]
    Truncated { got: usize, expected: usize },
    #[error("a CNI message can't be read: {0}")]
    Malformed(#[source] serde_json::Error),
}

impl From<MessageError> for CniError {
    fn from(error: MessageError) -> Self {
        let code = match &error {
            MessageError::Io { .. } | MessageError::Truncated { .. } => ErrorCode::IO_FAILURE,
            MessageError::TooLong(_) | MessageError::Malformed(_) => ErrorCode::DECODING_FAILURE,
        };
        let details = match &error {
            MessageError::Io { source, .. } => source.to_string(),
            _ => String::new(),
        };
        Self::new(code, error.to_string()).with_details(details)
    }
}

/// Sends one message.
pub fn write_message(writer: &mut impl Write, message: &impl Serialize) -> Result<(), MessageError> {
    let body = serde_json::to_vec(message).map_err(MessageError::Malformed)?;
    if body.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(body.len() as u64));
    }
    // One write, so that a peer that reads at once finds all of it.
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&body);
    let mut write = || -> io::Result<()> {
        writer.write_all(&frame)?;
        writer.flush()
    };
    write().map_err(|source| MessageError::Io { operation: "write to", source })
}

/// Receives one message.
pub fn read_message<T: DeserializeOwned>(reader: &mut impl Read) -> Result<T, MessageError> {
    let length = read_exactly(reader, 4)?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if length > MAX_MESSAGE {
        return Err(MessageError::TooLong(length as u64));
    }
    serde_json::from_slice(&read_exactly(reader, length)?).map_err(MessageError::Malformed)
}

/// Grows with what arrives, not with what the length claims.
fn read_exactly(reader: &mut impl Read, expected: usize) -> Result<Vec<u8>, MessageError> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(expected as u64).read_to_end(&mut bytes);
    read.map_err(|source| MessageError::Io { operation: "read from", source })?;
    if bytes.len() < expected {
        return Err(MessageError::Truncated { got: bytes.len(), expected });
    }
    Ok(bytes)
}
