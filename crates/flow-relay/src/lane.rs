//! One node's flows, for one request.

use crate::ask::ask;
use crate::limits::Limits;
use crate::merge::Arrived;
use crate::target::Target;
use crate::trouble::Trouble;
use flow_api::client::Credentials;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use prost_types::Timestamp;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
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
    pub from: Option<Timestamp>,
    /// Where to begin if it was away and has told nothing; `None`: as the request says.
    pub away: Option<Timestamp>,
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
        asked.from = asked.from.or(asked.away);
        tokio::time::sleep(asked.limits.retry).await;
    }
}

impl Asked {
    async fn once(&mut self, news: &mpsc::Sender<News>) -> Result<(), Trouble> {
        let request = match self.from {
            Some(since) => GetFlowsRequest { number: 0, since: Some(since), ..self.request.clone() },
            None => self.request.clone(),
        };
        let flows = ask(&self.target, self.credentials.as_deref(), &self.limits, |client| async move {
            client.max_decoding_message_size(LARGEST).get_flows(request).await
        });
        let mut stream = flows.await?;
        if news.send(News::Connected).await.is_err() {
            return Ok(());
        }
        while let Some(answer) = self.next(&mut stream).await? {
            self.from = behind(&answer).or(self.from);
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

fn is_over(request: &GetFlowsRequest) -> bool {
    let now = Timestamp::from(SystemTime::now());
    request.until.is_some_and(|until| (until.seconds, until.nanos) < (now.seconds, now.nanos))
}

/// Where to go on after this answer. A loss does not say where it was.
pub fn behind(answer: &GetFlowsResponse) -> Option<Timestamp> {
    let is_flow = matches!(answer.response_types, Some(ResponseTypes::Flow(_)));
    answer.time.filter(|_| is_flow).map(after)
}

/// The next nanosecond.
fn after(time: Timestamp) -> Timestamp {
    match time.nanos {
        nanos @ ..999_999_999 => Timestamp { nanos: nanos + 1, ..time },
        // A node may say what is no time at all.
        _ => Timestamp { seconds: time.seconds.saturating_add(1), nanos: 0 },
    }
}

/// Bytes of one answer. A flow has a few hundred, with many labels some thousands; 256 of each node may wait.
const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_nanosecond_of_anything() {
        let after = |seconds, nanos| {
            let time = after(Timestamp { seconds, nanos });
            (time.seconds, time.nanos)
        };
        assert_eq!(after(7, 5), (7, 6));
        assert_eq!(after(7, 999_999_998), (7, 999_999_999));
        assert_eq!(after(7, 999_999_999), (8, 0));
        assert_eq!(after(i64::MAX, i32::MAX), (i64::MAX, 0));
    }
}
