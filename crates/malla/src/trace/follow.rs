//! Asking every agent to follow one end, and taking down what they tell.

use crate::agents::Agent;
use agent::events::{End, Line, Record};
use anyhow::anyhow;
use futures::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One end, followed on every node that can, until this is dropped.
#[derive(Debug)]
pub struct Followed {
    book: Arc<Mutex<Book>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Nodes that did not answer in time, and what was noted of each: whoever asks them again waits again.
    pub silent: Vec<(String, String)>,
}

/// What was told of one end.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Events, node by node, each node's in its own order.
    pub records: Vec<Vec<Record>>,
    /// Events that could not be told.
    pub lost: u64,
    /// Why a node's part is missing, or some of it.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Book {
    account: Account,
    count: usize,
    last: Instant,
}

/// No node can follow.
#[derive(Debug, thiserror::Error)]
#[error("no node can follow: {}", notes.join("; "))]
pub struct NoOne {
    notes: Vec<String>,
    /// As in [`Followed`].
    pub silent: Vec<(String, String)>,
}

/// Follows the end on all nodes at once; when this returns, those that can do. What the others say is noted.
///
/// # Errors
/// When none of them can.
pub async fn follow(agents: &[Agent], end: End) -> Result<Followed, NoOne> {
    // Brackets are none of a query's characters (RFC 3986 §3.4).
    let path = format!("/v1/trace?end={}", end.to_string().replace('[', "%5B").replace(']', "%5D"));
    let answers =
        join_all(agents.iter().map(async |agent| match tokio::time::timeout(LIMIT, agent.open(&path)).await {
            Ok(answer) => (answer, false),
            Err(_) => (Err(anyhow!("no answer in time")), true),
        }));
    let account = Account { records: vec![Vec::new(); agents.len()], ..Account::default() };
    let book = Arc::new(Mutex::new(Book { account, count: 0, last: Instant::now() }));
    let mut followed = Followed { book: book.clone(), tasks: Vec::new(), silent: Vec::new() };
    for (at, (agent, (answer, is_silent))) in agents.iter().zip(answers.await).enumerate() {
        match answer {
            Ok(body) => followed.tasks.push(tokio::spawn(take_down(body, at, agent.name.clone(), book.clone()))),
            Err(error) => {
                let note = format!("node {} tells nothing: {error:#}", agent.name);
                if is_silent {
                    followed.silent.push((agent.name.clone(), note.clone()));
                }
                lock(&book).account.notes.push(note);
            }
        }
    }
    if followed.tasks.is_empty() {
        let notes = std::mem::take(&mut lock(&book).account.notes);
        return Err(NoOne { notes, silent: std::mem::take(&mut followed.silent) });
    }
    Ok(followed)
}

async fn take_down(mut body: Incoming, at: usize, node: String, book: Arc<Mutex<Book>>) {
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let lines = crate::monitor::split(&mut rest, &data);
        let mut book = lock(&book);
        for line in lines {
            match line {
                Line::Flow(record) if book.count < MOST => {
                    book.account.records[at].push(*record);
                    book.count += 1;
                    book.last = Instant::now();
                }
                Line::Flow(_) => book.account.lost += 1,
                Line::Lost(loss) => book.account.lost += loss.events,
            }
        }
    }
    // Whoever has heard enough ends this task: that a stream ends by itself is the agent's end.
    lock(&book)
        .account
        .notes
        .push(format!("the agent of node {node} has ended: the rest of that node's part is missing"));
}

impl Followed {
    /// Something that is missing.
    pub fn note(&self, text: String) {
        lock(&self.book).account.notes.push(text);
    }

    /// What was told, once nothing more has come for a moment: agents read their rings by time.
    pub async fn end(self) -> Account {
        let until = Instant::now() + LONGEST;
        let began = Instant::now();
        loop {
            let last = lock(&self.book).last.max(began);
            if last.elapsed() > QUIET || Instant::now() > until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::mem::take(&mut lock(&self.book).account)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection waits at the forwarder meanwhile, which goes on without us after [`lab::forwarder::PATIENCE`]: this must be
/// less, so that the nodes that did answer are heard.
const LIMIT: Duration = lab::forwarder::PATIENCE.checked_div(2).unwrap();
/// Six times the longest sleep of an agent's reader.
const QUIET: Duration = Duration::from_millis(300);
/// A connection that goes on speaking is told as far as it came.
const LONGEST: Duration = Duration::from_secs(3);
/// Events that are kept of one connection; the rest is counted as lost.
const MOST: usize = 20_000;

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
