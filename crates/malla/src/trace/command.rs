//! A command's connections through the lab's forwarder, each followed before its first packet is sent.

use super::connection::is_of;
use super::follow::{Followed, follow};
use super::journey::Gathered;
use crate::agents::Selection;
use anyhow::{Context, ensure};
use lab::files::Folders;
use lab::forwarder::{Said, Step};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

struct Connection {
    said: Vec<Said>,
    followed: Followed,
}

/// Runs the command to its end; every connection that it made, in the order in which it made them.
///
/// # Errors
/// When the lab's forwarder does not answer, the command can't be started, or a node can't follow.
pub async fn run(selection: &Selection, command: &[String]) -> anyhow::Result<Vec<Gathered>> {
    let agents = selection.agents()?;
    let socket = Folders::of(&selection.lab.parse()?).forwarder_socket();
    let stream =
        UnixStream::connect(&socket).await.with_context(|| format!("ask the forwarder at {}", socket.display()))?;
    let (lines, mut answers) = stream.into_split();
    let mut lines = BufReader::new(lines).lines();
    ensure!(lines.next_line().await?.is_some(), "the forwarder has hung up");

    let (program, arguments) = command.split_first().context("no command to run")?;
    // Standard output is the account's; what the command prints is for whoever watches.
    let output = Stdio::from(std::io::stderr());
    let mut child = Command::new(program);
    let mut child = child.args(arguments).stdout(output).spawn().with_context(|| format!("run {program}"))?;
    let pid = child.id();
    let ended = tokio::task::spawn_blocking(move || child.wait());
    tokio::pin!(ended);
    let mut connections = BTreeMap::new();
    loop {
        tokio::select! {
            said = next(&mut lines) => {
                let said = said?;
                if said.step == Step::Accepted && is_of(pid, said.client, said.listen) {
                    let followed = follow(&agents, said.from).await;
                    let _ = answer(&mut answers, &said).await;
                    connections.insert(said.connection, Connection { said: vec![said], followed: followed? });
                } else {
                    let _ = answer(&mut answers, &said).await;
                    note(&mut connections, said);
                }
            }
            _ = &mut ended => break,
        }
    }
    // How they ended is told just after.
    let until = tokio::time::Instant::now() + LAST_WORDS;
    while let Ok(Ok(said)) = tokio::time::timeout_at(until, next(&mut lines)).await {
        let _ = answer(&mut answers, &said).await;
        note(&mut connections, said);
    }
    let mut all = Vec::new();
    for (_, connection) in connections {
        let (records, lost) = connection.followed.end().await;
        let wanted = connection.said.first().map(|said| said.listen);
        let client = connection.said.first().map(|said| said.from);
        all.push(Gathered {
            who: command.join(" "),
            client,
            wanted,
            forwarder: connection.said,
            records,
            failure: None,
            lost,
        });
    }
    Ok(all)
}

fn note(connections: &mut BTreeMap<u64, Connection>, said: Said) {
    if let Some(connection) = connections.get_mut(&said.connection) {
        connection.said.push(said);
    }
}

async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> anyhow::Result<Said> {
    let line = lines.next_line().await?.context("the forwarder has hung up")?;
    serde_json::from_str(&line).context("understand the forwarder")
}

/// The connection waits for this.
async fn answer(answers: &mut OwnedWriteHalf, said: &Said) -> std::io::Result<()> {
    if said.waits { answers.write_all(b"\n").await } else { Ok(()) }
}

/// After the command's end, the forwarder has its own connections to close.
const LAST_WORDS: Duration = Duration::from_millis(200);
