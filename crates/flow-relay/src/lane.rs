//! One node's flows, for one request.

use crate::ask::ask;
use crate::limits::Limits;
use crate::merge::Arrived;
use crate::target::Target;
use crate::trouble::Trouble;
use flow_api::client::Credentials;
use flow_api::moment::{moment, now};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use prost_types::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// What becomes of a node.
#[derive(Debug)]
pub enum News {
    /// It answers.
    Connected,
    /// It tells.
    Answer(Box<Arrived>),
    /// It does not.
    Trouble(Trouble),
}

/// What a node is asked, and how.
#[derive(Debug)]
pub struct Asked {
    /// Where it is.
    pub target: Target,
    /// Who asks.
    pub credentials: Option<Arc<Credentials>>,
    /// For how long.
    pub limits: Limits,
    /// As the client has asked.
    pub request: GetFlowsRequest,
    /// Where to begin; `None`: as the request says.
    pub from: Option<Place>,
    /// Where to begin if it was away and has told nothing; `None`: as the request says.
    pub away: Option<Timestamp>,
}

/// Where a node was left: some of what has the same time may be told, and some not.
#[derive(Clone, Debug)]
pub struct Place {
    time: Timestamp,
    /// Time and id of the flows that were told last.
    told: VecDeque<(Timestamp, String)>,
}

impl Place {
    /// Nothing of this time was told.
    pub fn at(time: Timestamp) -> Self {
        Self { time, told: VecDeque::new() }
    }

    /// Goes on behind this answer.
    pub fn pass(place: &mut Option<Self>, answer: &GetFlowsResponse) {
        let Some((time, uuid)) = named(answer) else { return };
        let place = place.get_or_insert_with(|| Self::at(time));
        place.time = time;
        if place.told.len() == REMEMBERED {
            place.told.pop_front();
        }
        place.told.push_back((time, uuid.to_owned()));
    }

    /// Whether this was told before the node was left. Flows without ids (a mask may leave them out) are one if they have one
    /// time.
    fn has(&self, answer: &GetFlowsResponse) -> bool {
        named(answer).is_some_and(|(time, uuid)| self.told.iter().any(|told| told.0 == time && told.1 == uuid))
    }
}

/// When a flow was, and which it is. A loss does not say where it was, and a node may say what is no time at all.
fn named(answer: &GetFlowsResponse) -> Option<(Timestamp, &str)> {
    let Some(ResponseTypes::Flow(flow)) = &answer.response_types else { return None };
    let time = answer.time.filter(|time| (0..1_000_000_000).contains(&time.nanos))?;
    Some((time, flow.uuid.as_str()))
}

/// Asks until all is told, or for ever if the request follows: then a node that was away is asked again, from where it was
/// left. Ends when nobody reads.
pub async fn run(mut asked: Asked, news: mpsc::Sender<News>) {
    loop {
        let report = match asked.once(&news).await {
            Ok(()) if !asked.request.follow => return,
            // It has stopped as it should.
            Ok(()) if is_over(&asked.request) => return,
            Ok(()) => Trouble::away("it has ended"),
            Err(trouble) => trouble,
        };
        if news.send(News::Trouble(report)).await.is_err() || !asked.request.follow || is_over(&asked.request) {
            return;
        }
        if asked.from.is_none() {
            asked.from = asked.away.map(Place::at);
        }
        tokio::time::sleep(asked.limits.retry).await;
    }
}

impl Asked {
    async fn once(&mut self, news: &mpsc::Sender<News>) -> Result<(), Trouble> {
        let left = self.from.clone();
        let request = match &left {
            Some(place) => GetFlowsRequest { number: 0, since: Some(place.time), ..self.request.clone() },
            None => self.request.clone(),
        };
        let flows = ask(&self.target, self.credentials.as_deref(), &self.limits, |channel| async move {
            ObserverClient::new(channel).max_decoding_message_size(LARGEST).get_flows(request).await
        });
        let mut stream = flows.await?;
        if news.send(News::Connected).await.is_err() {
            return Ok(());
        }
        while let Some(answer) = self.next(&mut stream).await? {
            if left.as_ref().is_some_and(|place| place.has(&answer)) {
                continue;
            }
            Place::pass(&mut self.from, &answer);
            // A reader that takes its time holds the node's stream back, and nothing else of the node.
            if news.send(News::Answer(Box::new(Arrived { answer, at: Instant::now() }))).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Who follows may hear nothing for as long as nothing happens.
    async fn next(&self, stream: &mut Streaming<GetFlowsResponse>) -> Result<Option<GetFlowsResponse>, Trouble> {
        let message = stream.message();
        let next: Result<_, Status> = if self.request.follow {
            message.await
        } else {
            let silent = |_| Trouble::away(format!("silent for {:?} in the middle of its answer", self.limits.silence));
            tokio::time::timeout(self.limits.silence, message).await.map_err(silent)?
        };
        Ok(next?)
    }
}

/// Nothing more is wanted of what comes.
pub fn is_over(request: &GetFlowsRequest) -> bool {
    request.until.as_ref().is_some_and(|until| moment(until) < moment(&now()))
}

/// Bytes of one answer. A flow has a few hundred, with many labels some thousands; 256 of each node may wait.
const LARGEST: usize = 64 << 10;

/// Far more events than a node has at one time: a packet and its verdict.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::Flow;

    fn flow(time: (i64, i32), uuid: &str) -> GetFlowsResponse {
        let time = Some(Timestamp { seconds: time.0, nanos: time.1 });
        let flow = Flow { uuid: uuid.to_owned(), ..Flow::default() };
        GetFlowsResponse { time, response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() }
    }

    #[test]
    fn of_one_time_only_what_was_told_is_told() {
        let mut place = None;
        for (time, uuid) in [((7, 5), "a"), ((7, 6), "b"), ((7, 6), "c")] {
            Place::pass(&mut place, &flow(time, uuid));
        }
        // Neither a loss nor what is no time at all says where it was.
        Place::pass(&mut place, &flow((i64::MAX, i32::MAX), "d"));
        Place::pass(&mut place, &GetFlowsResponse { time: Some(Timestamp::default()), ..GetFlowsResponse::default() });
        let place = place.unwrap();
        assert_eq!(place.time, Timestamp { seconds: 7, nanos: 6 });
        assert!(["b", "c"].iter().all(|uuid| place.has(&flow((7, 6), uuid))));
        assert!(!place.has(&flow((7, 6), "d")) && !place.has(&flow((7, 7), "b")));
    }

    #[test]
    fn no_more_is_remembered_than_needed() {
        let mut place = None;
        (0..1000).for_each(|nanos| Place::pass(&mut place, &flow((7, nanos), "")));
        let place = place.unwrap();
        assert_eq!((place.told.len(), place.time.nanos), (REMEMBERED, 999));
    }
}
