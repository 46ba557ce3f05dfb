//! The agent at work: start-up in order, then one loop.

mod answers;
mod away;
mod deeds;
mod measured;
mod names;
mod routes;
mod services;
mod start;
mod state;
mod who;

pub use answers::{drops, forwarded, routing_name};
pub use state::{Maps, Parts, State};

use crate::cli::AgentArgs;
use crate::{cluster, kernel};
use anyhow::Context;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How often the loop looks at what nobody tells it.
const TICK: Duration = Duration::from_secs(10);
/// The same while something fails or waits.
const SOON: Duration = Duration::from_millis(500);
/// What the API tells is taken in portions, so that questions are answered in between.
const PORTION: usize = 512;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the agent can't start.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let started = tokio::select! {
        started = start::start(&args) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let start::Started {
        mut state,
        client,
        mut inputs,
        mut questions,
        pods_changed,
        neighbours_changed,
        network,
        keeping,
        readiness,
    } = started;
    state.settle();
    let mut portion = Vec::new();
    let mut ready = false;
    let mut ticked = Instant::now();
    loop {
        let next_tick = ticked + if state.has_work() { SOON } else { TICK };
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(question) = questions.recv() => state.answer(question),
            () = pods_changed.notified() => state.pods_changed(),
            () = neighbours_changed.notified() => state.neighbours_changed(),
            count = inputs.recv_many(&mut portion, PORTION) => {
                anyhow::ensure!(count > 0, "the watches have ended");
                let heard: Vec<_> = portion.iter().map(|heard: &cluster::Heard| heard.at).collect();
                portion.drain(..).for_each(|heard| state.take(heard.input));
                state.settle();
                state.has_settled(&heard);
            }
            () = tokio::time::sleep_until(next_tick) => {
                state.tick();
                // The same again is the heartbeat of this loop.
                readiness.send_replace(Some(state.readiness()));
                ticked = Instant::now();
            }
            () = tokio::time::sleep_until(state.names_due().into()) => state.freshen_names(),
        }
        if !ready && state.is_synced() {
            ready = true;
            network.set_ready();
            kernel::trim_memory();
            tokio::spawn(report_ready(client.clone(), args.node_name.clone()));
            tracing::info!("in sync with the Kubernetes API");
        }
    }
    tracing::info!("ending; what is pinned goes on working");
    drop(keeping);
    Ok(())
}

/// Until the API has taken it.
async fn report_ready(client: kube::Client, node: String) {
    while let Err(error) = cluster::report_ready(&client, &node).await {
        tracing::warn!("telling that the network is available: {}", crate::error::chain(&error));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
