//! Probes, one after the other and some at once, as the schedule has them.

use super::ledger::{Outcome, Why};
use super::plan::{Schedule, Target};
use super::view::Protocol;
use super::{Found, Wanted, echo, hello, verdict};
use crate::node_conditions::Statement;
use crate::trouble::Trouble;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use model::NodeName;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What is probed how.
pub(super) struct Settings {
    /// Who probes.
    pub own: NodeName,
    /// The health port of all nodes.
    pub port: u16,
    /// Between two probes of one target.
    pub interval: Duration,
}

/// Probes and answers until whoever tells the nodes is gone.
pub(super) async fn run(
    settings: Settings,
    wanted: watch::Receiver<Option<Wanted>>,
    found: Arc<Found>,
    said: watch::Sender<Option<Statement>>,
    trouble: Trouble,
) {
    let (nodes, known) = watch::channel(hello::Nodes::default());
    let answering = tokio::spawn(hello::serve(settings.port, settings.own.clone(), known, trouble));
    probe(settings, wanted, &nodes, &found, &said).await;
    answering.abort();
}

async fn probe(
    settings: Settings,
    mut wanted: watch::Receiver<Option<Wanted>>,
    nodes: &watch::Sender<hello::Nodes>,
    found: &Found,
    said: &watch::Sender<Option<Statement>>,
) {
    let started = Instant::now();
    let mut schedule = Schedule::new(settings.own, settings.interval);
    let mut running = FuturesUnordered::new();
    let mut without_address = BTreeSet::new();
    loop {
        let next = schedule.next().filter(|_| schedule.running() < MOST);
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = wanted.borrow_and_update().clone();
                let Some(now) = now else { continue };
                nodes.send_replace(now.nodes);
                without_address = now.without_address;
                let mut paths = found.paths();
                paths.ledger.set(&now.targets);
                schedule.set(now.targets, started.elapsed());
                paths.interval = schedule.interval();
                say(verdict::statement(&paths.ledger, &without_address), said);
            }
            Some((target, outcome)) = running.next() => {
                if schedule.finished(&target) {
                    found.metrics.count(&target, &outcome);
                    let mut paths = found.paths();
                    if paths.ledger.record(&target, outcome, Timestamp::now()) {
                        say(verdict::statement(&paths.ledger, &without_address), said);
                    }
                }
            }
            () = tokio::time::sleep_until(started + next.unwrap_or_default()), if next.is_some() => {}
        }
        for target in schedule.take_due(started.elapsed(), MOST) {
            running.push(one(target, settings.port));
        }
    }
}

/// What was said last holds until there is something else to say.
fn say(now: Option<Statement>, said: &watch::Sender<Option<Statement>>) {
    said.send_if_modified(|before| {
        let is_news = now.is_some() && *before != now;
        if is_news {
            before.clone_from(&now);
        }
        is_news
    });
}

async fn one(target: Target, port: u16) -> (Target, Outcome) {
    let began = Instant::now();
    let answer = match target.protocol {
        Protocol::Icmp => tokio::time::timeout(LIMIT, echo::echo(target.address)).await.unwrap_or(Err(Why::Silent)),
        Protocol::Tcp => hello::ask(SocketAddr::new(target.address, port), &target.node, LIMIT).await,
    };
    let outcome = answer.map_or_else(Outcome::Failed, |()| Outcome::Answered(began.elapsed()));
    (target, outcome)
}

/// For one probe. A lost SYN is sent again after a second.
const LIMIT: Duration = Duration::from_secs(2);
/// Probes under way at once: what a node sends in a second, twice, if none is answered; each has a socket.
const MOST: usize = 2 * super::plan::RATE as usize;

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
