//! Where the agents are, and how they are asked.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Which agents are meant.
#[derive(Args, Clone, Debug)]
pub struct Selection {
    /// The lab whose agents are asked
    #[arg(long, env = "MALLA_LAB", default_value = DEFAULT_LAB, value_name = "NAME")]
    pub lab: String,
    /// Only this node (can be given several times)
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    /// Ask the agent behind this socket instead of a lab's (can be given several times)
    #[arg(long, value_name = "PATH")]
    pub socket: Vec<PathBuf>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For scripts
    Json,
    /// For scripts and people
    Yaml,
}

impl Output {
    /// Prints it so; the table is made only where it is wanted.
    ///
    /// # Errors
    /// When it can't be written as JSON or YAML.
    pub fn print(self, what: &impl Serialize, table: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self {
            Self::Table => print!("{}", table()),
            Self::Json => println!("{}", serde_json::to_string_pretty(what)?),
            Self::Yaml => print!("{}", serde_saphyr::to_string(what)?),
        }
        Ok(())
    }
}

/// One agent: the name it is known by until it has said its own, and its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Folder of the node, or the socket's path.
    pub name: String,
    /// Its socket.
    pub socket: PathBuf,
}

/// Of a lab that was given none.
const DEFAULT_LAB: &str = "malla";

/// Where labs keep their state.
pub const LABS: &str = "/run/malla";

impl Selection {
    /// Whether anything of it was said, but the default lab's name.
    pub fn is_named(&self) -> bool {
        self.lab != DEFAULT_LAB || !self.node.is_empty() || !self.socket.is_empty()
    }

    /// The agents that are meant, by name.
    ///
    /// # Errors
    /// When there is no such lab or node.
    pub fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        if !self.socket.is_empty() {
            let by_path = |path: &PathBuf| Agent { name: path.display().to_string(), socket: path.clone() };
            return Ok(self.socket.iter().map(by_path).collect());
        }
        self.in_folder(&Path::new(LABS).join(&self.lab).join("nodes"))
    }

    fn in_folder(&self, nodes: &Path) -> anyhow::Result<Vec<Agent>> {
        let lab = &self.lab;
        let entries = match std::fs::read_dir(nodes) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no lab {lab:?} here (start it with `malla lab up --name {lab}`, or name an agent with --socket)"
            ),
            Err(error) => return Err(error).with_context(|| format!("read {}", nodes.display())),
        };
        let mut agents: Vec<Agent> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok().map(|name| (name, entry.path())))
            .map(|(name, path)| Agent { name, socket: path.join("agent.sock") })
            .filter(|agent| self.node.is_empty() || self.node.contains(&agent.name))
            .collect();
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(missing) = self.node.iter().find(|wanted| !agents.iter().any(|a| a.name == **wanted)) {
            bail!("lab {lab:?} has no node {missing:?}");
        }
        if agents.is_empty() {
            bail!("lab {lab:?} has no nodes");
        }
        Ok(agents)
    }
}

impl Agent {
    /// Body of `GET path`.
    ///
    /// # Errors
    /// When the agent does not answer, or with something else than success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let whole = async {
            let body = self.open(path).await?;
            let body = Limited::new(body, LARGEST).collect().await;
            Ok(body.map_err(anyhow::Error::from_boxed).context("read the answer")?.to_bytes())
        };
        tokio::time::timeout(LIMIT, whole).await.context("no answer in time")?
    }

    /// The answer to `GET path`, to be read as it comes.
    ///
    /// # Errors
    /// When the agent does not answer, or with something else than success.
    pub async fn open(&self, path: &str) -> anyhow::Result<Incoming> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .with_context(|| format!("connect to the agent at {}", self.socket.display()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("speak HTTP")?;
        // It ends when the body has been read or dropped.
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "agent").body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await.context("ask")?;
        let status = response.status();
        if !status.is_success() {
            let why = Limited::new(response.into_body(), LONGEST_REASON).collect().await;
            let why = why.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
            bail!("the agent answered {status}{}{why}", if why.is_empty() { "" } else { ": " });
        }
        Ok(response.into_body())
    }
}

/// An agent that needs longer than this has a problem.
const LIMIT: Duration = Duration::from_secs(5);
/// What an agent says of its refusal is a line; bytes.
const LONGEST_REASON: usize = 4096;
/// Largest answer, bytes.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(node: &[&str]) -> Selection {
        Selection { lab: "x".into(), node: node.iter().map(|n| (*n).to_owned()).collect(), socket: vec![] }
    }

    #[test]
    fn nodes_of_a_lab_are_found_by_folder_and_unknown_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        for node in ["worker-1", "control-plane"] {
            std::fs::create_dir(folder.path().join(node)).unwrap();
        }
        let names =
            |s: Selection| s.in_folder(folder.path()).map(|a| a.into_iter().map(|a| a.name).collect::<Vec<_>>());
        assert_eq!(names(selection(&[])).unwrap(), ["control-plane", "worker-1"]);
        assert_eq!(names(selection(&["worker-1"])).unwrap(), ["worker-1"]);
        assert!(names(selection(&["worker-9"])).unwrap_err().to_string().contains("worker-9"));
        assert!(selection(&[]).in_folder(&folder.path().join("none")).unwrap_err().to_string().contains("no lab"));
    }
}
