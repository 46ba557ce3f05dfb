//! The settings compiled into the programs, as the agent that loaded them has written them down.

use super::listing::{Entry, Listing};
use agent::settings_file;
use anyhow::Context;
use std::path::Path;

pub fn read(state_dir: &Path) -> anyhow::Result<Listing> {
    let settings = settings_file::read(state_dir).context("find out what the programs were loaded with")?;
    let object = serde_json::to_value(settings)?;
    let rows = object.as_object().into_iter().flatten().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = if text == "null" { "-".to_owned() } else { text };
        format!("{}{text}", pad(name))
    });
    let row = vec![rows.collect::<Vec<_>>().join("\n")];
    Ok(Listing { columns: vec!["SETTINGS"], entries: vec![Entry { row, object }] })
}

/// The names as a column of their own.
fn pad(name: &str) -> String {
    format!("{:<20}", name.replace('_', " "))
}
