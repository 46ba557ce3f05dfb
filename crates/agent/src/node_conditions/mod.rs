//! Conditions of the own Node, and Events, that tell the cluster how the network does here. Who knows of a matter keeps its condition:
//! [`room`] of maps without room, [`ready`] of the agent itself, the probes of the ways to other nodes. One task writes them all, so
//! that what is due at the same time is one request.

mod pace;
pub mod ready;
pub mod room;
mod writer;

pub use pace::SETTLED;
pub use room::Room;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use pace::{Lot, Pace, Script};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use writer::{Telling, Writer};

/// What a condition of the Node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's status.
    pub holds: bool,
    /// In one word.
    pub reason: &'static str,
    /// For people. What changes all the time has no place in it: each change is written, though at the condition's pace.
    pub message: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much a statement matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Written only where something was said before.
    Quiet,
    /// Written.
    Plain,
    /// Written, and told by an Event when it begins, not at each change of its words: what the agent was doing.
    Warning(&'static str),
}

/// The conditions of one Node that are kept here. Nothing is written before [`start`](Self::start).
pub struct NodeConditions {
    client: kube::Client,
    node: String,
    scripts: BTreeMap<&'static str, Script>,
    news: SelectAll<BoxStream<'static, News>>,
}

/// What comes from those who keep a condition.
enum News {
    /// This is to be said from now on; of nothing, nothing.
    Said(&'static str, Option<Statement>),
    /// Nobody keeps it any more.
    Over(&'static str),
}

impl NodeConditions {
    /// Of this Node; none is kept yet.
    #[must_use]
    pub fn of(client: kube::Client, node: String) -> Self {
        Self { client, node, scripts: BTreeMap::new(), news: SelectAll::new() }
    }

    /// Keeps one as what is sent says, at this pace, until the sender is gone. Only the newest counts; of what says nothing, nothing
    /// is written.
    #[must_use]
    pub fn keep<T: Clone + Default + Send + Sync + 'static>(
        &mut self,
        condition: &'static str,
        pace: Pace,
        statement: fn(&T) -> Option<Statement>,
    ) -> watch::Sender<T> {
        let (sender, receiver) = watch::channel(T::default());
        let said = WatchStream::new(receiver).map(move |told| News::Said(condition, statement(&told)));
        let over = stream::once(std::future::ready(News::Over(condition)));
        self.news.push(said.chain(over).boxed());
        self.scripts.insert(condition, Script::new(pace, Lot::of(&self.node), Instant::now()));
        sender
    }

    /// Takes one away that nobody keeps any more: what an agent said that was told to keep it would stand for ever.
    pub fn remove(&self, condition: &'static str) {
        let (client, node) = (self.client.clone(), self.node.clone());
        tokio::spawn(async move {
            let lot = Lot::of(&node);
            let writer = Writer::new(client, node);
            let mut failures = 0_u32;
            while !writer.remove(condition).await {
                tokio::time::sleep(lot.pause(failures)).await;
                failures = failures.saturating_add(1);
            }
        });
    }

    /// Writes them until nobody keeps any.
    pub fn start(self) {
        tokio::spawn(self.write());
    }

    async fn write(self) {
        let Self { client, node, mut scripts, mut news } = self;
        let mut writer = Writer::new(client, node);
        loop {
            let due = scripts.values().filter_map(Script::due).min();
            tokio::select! {
                // What is written is the newest.
                biased;
                heard = news.next() => {
                    match heard {
                        Some(News::Said(condition, wish)) => {
                            if let Some(script) = scripts.get_mut(condition) {
                                script.hear(wish, Instant::now());
                            }
                        }
                        Some(News::Over(condition)) => drop(scripts.remove(condition)),
                        None => return,
                    }
                    continue;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let began = Instant::now();
            let tellings = tellings(&scripts, began);
            let is_told = writer.tell(&tellings).await;
            let ended = Instant::now();
            for Telling { condition, statement, .. } in tellings {
                let Some(script) = scripts.get_mut(condition) else { continue };
                if is_told {
                    script.succeeded(statement, ended);
                } else if script.is_due(began) {
                    script.failed(ended);
                }
            }
        }
    }
}

/// What is due; and what stands, because it costs nothing to look at it in the same answer.
fn tellings(scripts: &BTreeMap<&'static str, Script>, now: Instant) -> Vec<Telling> {
    let telling = |(&condition, script): (&&'static str, &Script)| {
        let statement = script.take_due(now).or_else(|| script.standing())?;
        Some(Telling { condition, statement, beat: script.beat(now) })
    };
    scripts.iter().filter_map(telling).collect()
}

#[cfg(test)]
mod tests;
