//! One node's flows, for one request.

use crate::merge::Arrived;
use crate::target::{AGAIN, LIMIT, Target};
use flow_api::client::Credentials;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use prost_types::Timestamp;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::mpsc;
use tonic::Code;

/// What becomes of a node.
#[derive(Debug)]
pub enum News {
    /// It answers.
    Connected,
    /// It tells.
    Answer(Box<Arrived>),
    /// It can't be asked, or has stopped to answer.
    Unavailable(String),
    /// It answers that something is wrong.
    Error(String),
}

/// Asks until all is told, or for ever if the request follows: then a node that was away is asked again, from where it was
/// left; as it was asked at first as long as it has told nothing. Ends when nobody reads.
pub async fn run(
    target: Target,
    credentials: Option<Arc<Credentials>>,
    request: GetFlowsRequest,
    mut from: Option<Timestamp>,
    news: mpsc::Sender<News>,
) {
    loop {
        let asked = match from {
            Some(since) => GetFlowsRequest { number: 0, since: Some(since), ..request.clone() },
            None => request.clone(),
        };
        let said = ask(&target, credentials.as_deref(), &asked, &news, &mut from).await;
        let report = match said {
            Ok(()) if !request.follow => return,
            // It has stopped as it should.
            Ok(()) if is_over(&request) => return,
            Ok(()) => News::Unavailable("it has ended".to_owned()),
            Err(report) => report,
        };
        if news.send(report).await.is_err() || !request.follow || is_over(&request) {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn ask(
    target: &Target,
    credentials: Option<&Credentials>,
    request: &GetFlowsRequest,
    news: &mpsc::Sender<News>,
    from: &mut Option<Timestamp>,
) -> Result<(), News> {
    let channel = target.connect(credentials).await.map_err(News::Unavailable)?;
    let mut client = ObserverClient::new(channel);
    // Who takes a connection and says nothing must not be waited for.
    let asked = tokio::time::timeout(LIMIT, client.get_flows(request.clone())).await;
    let silent = |_| News::Unavailable("no answer in time".to_owned());
    let mut stream = asked.map_err(silent)?.map_err(failed)?.into_inner();
    if news.send(News::Connected).await.is_err() {
        return Ok(());
    }
    while let Some(answer) = stream.message().await.map_err(failed)? {
        *from = behind(&answer).or(*from);
        // A reader that takes its time holds the node's stream back, and nothing else of the node.
        if news.send(News::Answer(Box::new(Arrived { answer, at: Instant::now() }))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn failed(status: tonic::Status) -> News {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => {
            News::Unavailable(status.message().to_owned())
        }
        _ => News::Error(status.message().to_owned()),
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
        999_999_999 => Timestamp { seconds: time.seconds.saturating_add(1), nanos: 0 },
        nanos => Timestamp { nanos: nanos + 1, ..time },
    }
}

/// Answers of one node that wait; what it has more it keeps.
pub const WAITING: usize = 256;
