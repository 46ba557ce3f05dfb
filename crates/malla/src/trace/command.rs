//! A command's connections through the lab's forwarder, each followed before its first packet is sent.

use super::connection::is_of;
use super::follow::{Account, Followed, follow};
use super::journey::Gathered;
use crate::agents::{Agent, Selection};
use agent::events::End;
use anyhow::{Context, ensure};
use lab::files::Folders;
use lab::forwarder::{Said, Step};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// One connection of the command's.
struct Connection {
    said: Vec<Said>,
    hearing: Hearing,
}

enum Hearing {
    /// It goes on.
    Now(Followed),
    /// It has ended, and the last of it is on its way; after that it takes no place on the nodes any more.
    Ending(JoinHandle<Account>),
    /// It can't be followed.
    Never(String),
}

/// Whom to ask.
struct Nodes {
    agents: Vec<Agent>,
    /// What is to be said of those that are not asked any more.
    silent: Vec<String>,
}

impl Nodes {
    fn leave_out(&mut self, silent: &[(String, String)]) {
        for (node, note) in silent {
            self.agents.retain(|agent| agent.name != *node);
            self.silent.push(note.clone());
        }
    }
}

impl Connection {
    /// Gets ready for the connection; it waits meanwhile. A node that does not answer in time is not asked for the next one:
    /// each would wait for it, and go on unheard.
    async fn follow(nodes: &mut Nodes, said: Said) -> Self {
        let hearing = match follow(&nodes.agents, End { address: said.from, protocol: TCP }).await {
            Ok(followed) => {
                nodes.silent.iter().for_each(|note| followed.note(note.clone()));
                nodes.leave_out(&followed.silent);
                Hearing::Now(followed)
            }
            Err(error) => {
                nodes.leave_out(&error.silent);
                Hearing::Never(error.to_string())
            }
        };
        Self { said: vec![said], hearing }
    }

    fn note(&mut self, said: Said) {
        if matches!(said.step, Step::Closed | Step::Failed) {
            self.hearing = match std::mem::replace(&mut self.hearing, Hearing::Never(String::new())) {
                Hearing::Now(followed) => Hearing::Ending(tokio::spawn(followed.end())),
                other => other,
            };
        }
        self.said.push(said);
    }

    async fn tell(self, who: String) -> Gathered {
        let account = match self.hearing {
            Hearing::Now(followed) => followed.end().await,
            Hearing::Ending(task) => task.await.unwrap_or_else(|error| Account {
                notes: vec![format!("what was told of it is lost: {error}")],
                ..Account::default()
            }),
            Hearing::Never(why) => Account { notes: vec![format!("not followed: {why}")], ..Account::default() },
        };
        let first = self.said.first();
        let outcome = self.said.iter().find_map(|said| match said.step {
            Step::Connected => Some(Ok(())),
            Step::Failed => Some(Err("the target has not accepted".to_owned())),
            _ => None,
        });
        Gathered {
            who,
            client: first.map(|said| said.from),
            wanted: first.map(|said| said.listen),
            forwarder: self.said,
            account,
            outcome,
            server: None,
        }
    }
}

/// Runs the command to its end; every connection that it made, in the order in which it made them.
///
/// # Errors
/// When the lab's forwarder does not answer, or the command can't be started.
pub async fn run(selection: &Selection, command: &[String]) -> anyhow::Result<Vec<Gathered>> {
    let mut nodes = Nodes { agents: selection.agents()?, silent: Vec::new() };
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
    // Whatever ends this ends the command too: nobody would be there to tell of it.
    let child = child.args(arguments).stdout(output).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("run {program}"))?;
    let pid = child.id().context("the command has ended before it began")?;
    let mut connections: BTreeMap<u64, Connection> = BTreeMap::new();
    let mut untold = 0_u64;
    loop {
        tokio::select! {
            said = next(&mut lines) => {
                let said = said?;
                let waits = said.waits;
                let is_new = said.step == Step::Accepted;
                if is_new && is_of(pid, said.client, said.listen).context("list the sockets of this machine")? {
                    if connections.len() < MOST {
                        connections.insert(said.connection, Connection::follow(&mut nodes, said).await);
                    } else {
                        untold += 1;
                    }
                } else if let Some(connection) = connections.get_mut(&said.connection) {
                    connection.note(said);
                }
                answer(&mut answers, waits).await?;
            }
            _ = child.wait() => break,
        }
    }
    // How they ended is told just after.
    let until = tokio::time::Instant::now() + LAST_WORDS;
    while let Ok(Ok(said)) = tokio::time::timeout_at(until, next(&mut lines)).await {
        let waits = said.waits;
        if let Some(connection) = connections.get_mut(&said.connection) {
            connection.note(said);
        }
        // A forwarder that ends now has said what there was to say.
        if answer(&mut answers, waits).await.is_err() {
            break;
        }
    }
    if untold > 0 {
        eprintln!("malla: {untold} more connections are not told: {MOST} are, at most");
    }
    let who = command.join(" ");
    Ok(futures::future::join_all(connections.into_values().map(|connection| connection.tell(who.clone()))).await)
}

async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> anyhow::Result<Said> {
    let line = lines.next_line().await?.context("the forwarder has hung up")?;
    serde_json::from_str(&line).context("understand the forwarder")
}

/// The connection waits for this.
async fn answer(answers: &mut OwnedWriteHalf, waits: bool) -> anyhow::Result<()> {
    if waits { answers.write_all(b"\n").await.context("answer the forwarder") } else { Ok(()) }
}

/// After the command's end, the forwarder has its own connections to close.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Connections that are told of one command: a page of journeys is read, a thousand are not.
const MOST: usize = 256;
const TCP: u8 = 6;
