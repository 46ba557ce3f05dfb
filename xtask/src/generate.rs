//! Writes generated code anew.

use crate::command;
use anyhow::Result;

/// Hubble's messages, from `crates/flow-api/proto`. The generator is the test that holds the committed code against the
/// sources: it needs crates that nobody else has to build, and so there is only one of it.
pub fn run() -> Result<()> {
    let mut cargo = command::new("cargo", &["test", "--quiet", "--package", "flow-api", "--test", "generated"]);
    cargo.env("MALLA_GENERATE", "1");
    command::check(cargo)
}
