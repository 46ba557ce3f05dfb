//! `malla-cni`: the plugin that the container runtime executes for every Pod. It validates what the runtime says,
//! hands it to the agent over a unix socket, and prints what the agent answers. It keeps nothing and never hangs:
//! whatever is slow (standard input, the agent) ends in an error after a fixed time, and the runtime tries again.
#![forbid(unsafe_code)]

mod agent;
mod output;
mod watchdog;

use std::{io::Read, process::ExitCode};

use cni_protocol::{
    CniError, Command, Environment, ErrorCode, Version,
    socket::{DEFAULT_PATH, Request},
    version_answer,
};
use serde_json::{Map, Value};

fn main() -> ExitCode {
    // Called by a person: say what this is. A runtime always sets the command.
    if std::env::var_os("CNI_COMMAND").is_none() && std::env::args_os().len() > 1 {
        return about();
    }
    watchdog::start();
    let mut version = Version::CURRENT;
    match run(&mut version) {
        Ok(Value::Null) => output::finish(None, ExitCode::SUCCESS),
        Ok(value) => output::finish(Some(&value), ExitCode::SUCCESS),
        Err(error) => output::finish(Some(&error.to_json(version)), ExitCode::FAILURE),
    }
}

/// Does what the runtime asks for. `version` becomes that of the configuration as soon as it is known, for the error
/// object.
fn run(version: &mut Version) -> Result<Value, CniError> {
    let environment = Environment::read(variable)?;
    let config = read_config(environment.command)?;
    *version = Version::of(&config)?;
    if environment.command == Command::Version {
        return Ok(version_answer(*version));
    }
    let socket = match config.get("socket") {
        None => DEFAULT_PATH.to_owned(),
        Some(Value::String(path)) => path.clone(),
        Some(_) => {
            return Err(CniError::new(ErrorCode::INVALID_CONFIG, "\"socket\" in the configuration is not a path"));
        }
    };
    let command = environment.command;
    agent::ask(&socket, command, &Request::new(environment, Value::Object(config)))
}

fn variable(name: &'static str) -> Option<String> {
    // Bytes that are not UTF-8 are in no valid value: validation refuses the replacement.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn read_config(command: Command) -> Result<Map<String, Value>, CniError> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_CONFIG + 1).read_to_end(&mut bytes).map_err(|error| {
        CniError::new(ErrorCode::IO_FAILURE, "standard input can't be read").with_details(error.to_string())
    })?;
    if bytes.len() as u64 > MAX_CONFIG {
        return Err(CniError::new(ErrorCode::DECODING_FAILURE, "the network configuration is too long"));
    }
    // Old runtimes ask for the version with nothing on standard input.
    if command == Command::Version && bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::from_iter([("cniVersion".to_owned(), Version::CURRENT.as_str().into())]));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        CniError::new(ErrorCode::DECODING_FAILURE, "the network configuration is not a JSON object")
            .with_details(error.to_string())
    })
}

fn about() -> ExitCode {
    let versions: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
    output::line(&format!(
        "malla-cni {}, CNI protocol versions supported: {}",
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    ));
    ExitCode::SUCCESS
}

/// What the socket can carry, with room for the rest of the request.
const MAX_CONFIG: u64 = (1 << 20) - (16 << 10);
