//! The conversation with the agent.

use std::{io, os::unix::net::UnixStream, time::Duration};

use cni_protocol::{
    CniError, Command, ErrorCode,
    socket::{MessageError, Request, Response, read_message, write_message},
};
use serde_json::Value;

/// Sends the request and waits for the answer.
pub(crate) fn ask(path: &str, command: Command, request: &Request) -> Result<Value, CniError> {
    let stream = UnixStream::connect(path).map_err(|error| away(path, command, &error.to_string()))?;
    let converse = || -> Result<Response, MessageError> {
        let timeouts = stream.set_read_timeout(Some(ANSWER)).and_then(|()| stream.set_write_timeout(Some(SEND)));
        timeouts.map_err(|source| MessageError::Io { operation: "prepare", source })?;
        write_message(&mut &stream, request)?;
        read_message(&mut &stream)
    };
    match converse() {
        Ok(response) => response.into(),
        Err(MessageError::Io { source, .. }) if is_passing(&source) => Err(away(path, command, &source.to_string())),
        Err(error @ MessageError::Truncated { .. }) => Err(away(path, command, &error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// The agent is not there, or went away before it answered: it restarts, and a request can be repeated safely. That
/// holds for DEL too: the runtime keeps the Pod's record and calls again, where "success" would leak.
fn away(path: &str, command: Command, reason: &str) -> CniError {
    let code = if command == Command::Status { ErrorCode::NOT_AVAILABLE } else { ErrorCode::TRY_AGAIN_LATER };
    CniError::new(code, format!("Malla's agent does not answer on {path}")).with_details(reason)
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
    matches!(error.kind(), BrokenPipe | ConnectionReset | TimedOut | WouldBlock)
}

/// The agent needs milliseconds; a node under great load a second.
const ANSWER: Duration = Duration::from_secs(20);
const SEND: Duration = Duration::from_secs(5);
