//! Asking every agent to follow one end, and taking down what they tell.

use crate::agents::Agent;
use agent::events::{Line, Record};
use anyhow::Context;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One end, followed on every node until this is dropped.
#[derive(Debug)]
pub struct Followed {
    book: Arc<Mutex<Book>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Debug)]
struct Book {
    records: Vec<Vec<Record>>,
    lost: u64,
    count: usize,
    last: Instant,
}

/// Follows the end of TCP on all nodes; when this returns, they do.
///
/// # Errors
/// When one of them can't: a journey with a hole is no journey.
pub async fn follow(agents: &[Agent], end: SocketAddr) -> anyhow::Result<Followed> {
    // Brackets are none of a query's characters (RFC 3986 §3.4).
    let end = end.to_string().replace('[', "%5B").replace(']', "%5D");
    let path = format!("/v1/trace?end=tcp,{end}");
    let records = vec![Vec::new(); agents.len()];
    let book = Arc::new(Mutex::new(Book { records, lost: 0, count: 0, last: Instant::now() }));
    let mut followed = Followed { book: book.clone(), tasks: Vec::new() };
    for (at, agent) in agents.iter().enumerate() {
        let body = tokio::time::timeout(LIMIT, agent.open(&path)).await;
        let body =
            body.context("no answer in time").flatten().with_context(|| format!("follow on node {}", agent.name))?;
        followed.tasks.push(tokio::spawn(take_down(body, at, book.clone())));
    }
    Ok(followed)
}

async fn take_down(mut body: Incoming, at: usize, book: Arc<Mutex<Book>>) {
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let lines = crate::monitor::split(&mut rest, &data);
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            match line {
                Line::Flow(record) if book.count < MOST => {
                    book.records[at].push(*record);
                    book.count += 1;
                    book.last = Instant::now();
                }
                Line::Flow(_) => book.lost += 1,
                Line::Lost(loss) => book.lost += loss.events,
            }
        }
    }
}

impl Followed {
    /// What was told, once nothing more has come for a moment: agents read their rings by time.
    pub async fn end(self) -> (Vec<Vec<Record>>, u64) {
        let until = Instant::now() + LONGEST;
        let began = Instant::now();
        loop {
            let last = self.book.lock().unwrap_or_else(PoisonError::into_inner).last.max(began);
            if last.elapsed() > QUIET || Instant::now() > until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut book.records), book.lost)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// An agent that needs longer to answer has a problem.
const LIMIT: Duration = Duration::from_secs(5);
/// Six times the longest sleep of an agent's reader.
const QUIET: Duration = Duration::from_millis(300);
/// A connection that goes on speaking is told as far as it came.
const LONGEST: Duration = Duration::from_secs(3);
/// Events that are kept of one connection; the rest is counted as lost.
const MOST: usize = 20_000;
