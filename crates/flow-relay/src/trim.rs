//! No more than was asked for: each node gives as many as it was asked for, together they have more.

use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use prost::Message;
use prost_types::Timestamp;
use std::collections::VecDeque;

/// Passes answers that come by time.
#[derive(Debug)]
pub enum Trim {
    /// All.
    All,
    /// The first so many flows.
    First(u64),
    /// The last so many flows: they are known when all are there.
    Last(Last),
}

/// The last answers so far.
#[derive(Debug)]
pub struct Last {
    /// Flows, at most.
    number: u64,
    /// Bytes, at most.
    most: usize,
    /// With the bytes of each.
    kept: VecDeque<(usize, GetFlowsResponse)>,
    bytes: usize,
    /// Flows that are kept.
    flows: u64,
    /// Flows that came.
    came: u64,
    /// Something was left out: what stands before the first flow is about a time that nobody asked for.
    cut: bool,
    /// Time of the newest flow that was left out.
    left_out: Option<Timestamp>,
}

impl Trim {
    /// As the request wants, of no more bytes (in memory) than `most`. One that follows says with its number where to begin, not where to end.
    #[must_use]
    pub fn new(request: &GetFlowsRequest, most: usize) -> Self {
        match request.number {
            0 => Self::All,
            _ if request.follow => Self::All,
            number if request.first || request.since.is_some() => Self::First(number),
            number => Self::Last(Last {
                number,
                most,
                kept: VecDeque::new(),
                bytes: 0,
                flows: 0,
                came: 0,
                cut: false,
                left_out: None,
            }),
        }
    }

    /// Whether it matters which comes first.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self, Self::All)
    }

    /// What is told now; `None`: not yet, or not at all.
    pub fn pass(&mut self, answer: GetFlowsResponse) -> Option<GetFlowsResponse> {
        match self {
            Self::All => Some(answer),
            Self::First(left) => {
                let told = *left > 0;
                *left -= u64::from(told && is_flow(&answer));
                told.then_some(answer)
            }
            // How a node is says nothing about a time.
            Self::Last(_) if matches!(answer.response_types, Some(ResponseTypes::NodeStatus(_))) => Some(answer),
            Self::Last(last) => {
                last.keep(answer);
                None
            }
        }
    }

    /// Whether nothing more is wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::First(0))
    }

    /// What is told at the end.
    pub fn finish(self) -> impl Iterator<Item = GetFlowsResponse> {
        let last = if let Self::Last(last) = self { Some(last) } else { None };
        last.into_iter().flat_map(|last| last.lost().into_iter().chain(last.kept.into_iter().map(|(_, answer)| answer)))
    }
}

impl Last {
    fn keep(&mut self, answer: GetFlowsResponse) {
        let (bytes, flows) = (room(&answer), u64::from(is_flow(&answer)));
        self.came = self.came.saturating_add(flows);
        self.flows += flows;
        self.bytes += bytes;
        self.kept.push_back((bytes, answer));
        self.cut |= self.flows > self.number || self.bytes > self.most;
        while self.flows > self.number || self.bytes > self.most || self.begins_with_none() {
            let Some((bytes, first)) = self.kept.pop_front() else { break };
            self.bytes -= bytes;
            if is_flow(&first) {
                self.flows -= 1;
                self.left_out = first.time;
            }
        }
    }

    fn begins_with_none(&self) -> bool {
        self.cut && self.kept.front().is_some_and(|(_, first)| !is_flow(first))
    }

    /// What was wanted and is not kept is never left out silently.
    fn lost(&self) -> Option<GetFlowsResponse> {
        let number = self.number.min(self.came) - self.flows;
        let source = LostEventSource::HubbleRingBuffer as i32;
        let lost = LostEvent { source, num_events_lost: number, last: self.left_out, ..LostEvent::default() };
        (number > 0).then(|| GetFlowsResponse {
            node_name: RELAY.to_owned(),
            time: self.left_out,
            response_types: Some(ResponseTypes::LostEvents(lost)),
        })
    }
}

/// Bytes that it takes here: its own, however little is said in it, and about as many as on the wire for what is.
fn room(answer: &GetFlowsResponse) -> usize {
    size_of::<GetFlowsResponse>() + answer.encoded_len()
}

fn is_flow(answer: &GetFlowsResponse) -> bool {
    matches!(answer.response_types, Some(ResponseTypes::Flow(_)))
}

/// Who has lost it: no node.
const RELAY: &str = "relay";

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::relay::NodeStatusEvent;

    const ENOUGH: usize = 1 << 20;

    fn answer(seconds: i64, flow: bool) -> GetFlowsResponse {
        let lost = ResponseTypes::LostEvents(Default::default());
        let what = if flow { ResponseTypes::Flow(Default::default()) } else { lost };
        let time = Some(Timestamp { seconds, nanos: 0 });
        GetFlowsResponse { time, response_types: Some(what), ..GetFlowsResponse::default() }
    }

    fn told(request: GetFlowsRequest) -> Vec<i64> {
        let mut trim = Trim::new(&request, ENOUGH);
        let all = [(2, true), (5, true), (6, false), (6, true), (7, true)];
        let mut told: Vec<_> = all.into_iter().filter_map(|(seconds, flow)| trim.pass(answer(seconds, flow))).collect();
        told.extend(trim.finish());
        told.iter().map(|answer| answer.time.unwrap().seconds).collect()
    }

    #[test]
    fn no_more_than_asked_and_losses_are_not_counted() {
        let ask = |number, first| told(GetFlowsRequest { number, first, ..GetFlowsRequest::default() });
        assert_eq!(ask(0, false), [2, 5, 6, 6, 7]);
        assert_eq!(ask(2, false), [6, 7]);
        assert_eq!(ask(3, false), [5, 6, 6, 7]);
        assert_eq!(ask(2, true), [2, 5]);
        assert_eq!(ask(9, true), [2, 5, 6, 6, 7]);
        let follow = GetFlowsRequest { number: 1, follow: true, ..GetFlowsRequest::default() };
        assert_eq!(told(follow), [2, 5, 6, 6, 7]);
    }

    #[test]
    fn how_a_node_is_is_told_at_once() {
        let status = ResponseTypes::NodeStatus(NodeStatusEvent::default());
        let answer = GetFlowsResponse { response_types: Some(status), ..GetFlowsResponse::default() };
        let mut trim = Trim::new(&GetFlowsRequest { number: 2, ..GetFlowsRequest::default() }, ENOUGH);
        assert!(trim.pass(answer).is_some());
    }

    #[test]
    fn what_is_too_much_to_keep_is_counted_and_told() {
        let size = super::room(&answer(100, true));
        let told = |number, room: usize| {
            let mut trim = Trim::new(&GetFlowsRequest { number, ..GetFlowsRequest::default() }, room * size);
            assert!((100..120).all(|second| trim.pass(answer(second, true)).is_none()));
            let told = trim.finish().map(|answer| match answer.response_types.unwrap() {
                ResponseTypes::LostEvents(lost) => {
                    assert_eq!((answer.node_name.as_str(), answer.time), ("relay", lost.last));
                    -i64::try_from(lost.num_events_lost).unwrap()
                }
                _ => answer.time.unwrap().seconds,
            });
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(3, 4), [117, 118, 119]);
        assert_eq!(told(4, 4), [116, 117, 118, 119]);
        assert_eq!(told(7, 4), [-3, 116, 117, 118, 119]);
        assert_eq!(told(u64::MAX, 4), [-16, 116, 117, 118, 119]);
        assert_eq!(told(2, 0), [-2], "one that is larger than all that may be kept");
    }
}
