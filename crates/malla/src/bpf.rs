//! `malla bpf …`: what is in the pinned maps, with or without an agent.

mod endpoints;
mod flows;
mod listing;
mod routes;
mod services;
mod settings;
mod sockets;
mod stats;

use crate::agents::LABS;
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use datapath::maps::Maps;
use listing::Listing;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla bpf services                         Frontends and backends on every node
  malla bpf conntrack --node worker-1        Flows that worker-1 tracks
  malla bpf ipcache -o json | jq '.[] | select(.kind == \"remote-pods\")'
  malla bpf stats --bpf-dir /sys/fs/bpf/malla";

/// Arguments of `malla bpf`.
#[derive(Args, Debug)]
pub struct BpfArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Tracked flows, also those of one voice
    Conntrack(Common),
    /// Frontends with their backends
    Services(Common),
    /// Pods of the node and its own addresses
    Endpoints(Common),
    /// Where everything else lies
    Ipcache(Common),
    /// Sockets with the backends they were given, and network namespaces whose sockets are left alone
    Sockets(Common),
    /// Settings compiled into the programs
    Config(Common),
    /// Packets dropped and passed, events, and what the maps cost
    Stats(Common),
}

/// Whose maps, and how to print them.
#[derive(Args, Clone, Debug)]
struct Common {
    /// The lab whose maps are read
    #[arg(long, env = "MALLA_LAB", default_value = "malla", value_name = "NAME")]
    lab: String,
    /// Only this node (can be given several times)
    #[arg(long, value_name = "NODE")]
    node: Vec<String>,
    /// Read the maps pinned here instead of a lab's
    #[arg(long, value_name = "FOLDER", conflicts_with = "node")]
    bpf_dir: Option<PathBuf>,
    /// State folder of the agent (`config` only)
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["node", "bpf_dir"])]
    state_dir: Option<PathBuf>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For scripts
    Json,
}

/// Reads and prints.
///
/// # Errors
/// When there are no pinned maps, or they can't be read.
pub fn run(args: &BpfArgs) -> anyhow::Result<()> {
    let (common, read): (&Common, fn(&Maps) -> anyhow::Result<Listing>) = match &args.what {
        What::Conntrack(common) => (common, flows::read),
        What::Services(common) => (common, services::read),
        What::Endpoints(common) => (common, endpoints::read),
        What::Ipcache(common) => (common, routes::read),
        What::Sockets(common) => (common, sockets::read),
        What::Config(common) => return print(common, &all_settings(common, Path::new(LABS))?),
        What::Stats(common) => (common, stats::read),
    };
    let folders = common.folders(Path::new(LABS))?;
    let mut all = Vec::new();
    for (node, folder) in &folders {
        let maps = Maps::open(folder).with_context(|| format!("open the maps pinned in {}", folder.display()))?;
        all.push((node.clone(), read(&maps)?));
    }
    print(common, &all)
}

/// Settings are in no map: see `agent::settings_file`.
fn all_settings(common: &Common, labs: &Path) -> anyhow::Result<Vec<(String, Listing)>> {
    if let Some(folder) = &common.state_dir {
        return Ok(vec![(folder.display().to_string(), settings::read(folder)?)]);
    }
    if common.bpf_dir.is_some() {
        bail!("settings are constants inside the programs and in no pinned map: name the agent's --state-dir instead");
    }
    let folders = common.folders(labs)?;
    let nodes = labs.join(&common.lab).join("nodes");
    folders.into_iter().map(|(node, _)| Ok((node.clone(), settings::read(&nodes.join(node))?))).collect()
}

fn print(common: &Common, all: &[(String, Listing)]) -> anyhow::Result<()> {
    let several = all.len() > 1;
    match common.output {
        Format::Table => print!("{}", listing::table(all, several)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&Value::Array(listing::objects(all)))?),
    }
    Ok(())
}

impl Common {
    /// Nodes with the folders where their maps are pinned.
    fn folders(&self, labs: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
        if let Some(folder) = &self.bpf_dir {
            return Ok(vec![(folder.display().to_string(), folder.clone())]);
        }
        let root = labs.join(&self.lab).join("bpf");
        let lab = &self.lab;
        let entries = match std::fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!(
                    "there is no lab {lab:?} here (start it with `malla lab up --name {lab}`, or name a folder with --bpf-dir)"
                )
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", root.display())),
        };
        let mut folders: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .filter(|(node, _)| self.node.is_empty() || self.node.contains(node))
            .collect();
        folders.sort();
        if let Some(missing) = self.node.iter().find(|wanted| !folders.iter().any(|(node, _)| node == *wanted)) {
            bail!("lab {lab:?} has nothing pinned for a node {missing:?}");
        }
        if folders.is_empty() {
            bail!("lab {lab:?} has nothing pinned: its agents have not been up yet");
        }
        Ok(folders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_a_lab_and_clear_words_when_there_are_none() {
        let root = tempfile::tempdir().unwrap();
        let common = |node: &[&str]| Common {
            lab: "x".into(),
            node: node.iter().map(|n| (*n).to_owned()).collect(),
            bpf_dir: None,
            state_dir: None,
            output: Format::Table,
        };
        assert!(common(&[]).folders(root.path()).unwrap_err().to_string().contains("no lab"));
        std::fs::create_dir_all(root.path().join("x/bpf")).unwrap();
        assert!(common(&[]).folders(root.path()).unwrap_err().to_string().contains("nothing pinned"));
        std::fs::create_dir_all(root.path().join("x/bpf/worker-1")).unwrap();
        assert_eq!(common(&[]).folders(root.path()).unwrap()[0].0, "worker-1");
        assert!(common(&["worker-9"]).folders(root.path()).is_err());
    }
}
