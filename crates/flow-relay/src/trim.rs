//! No more than was asked for: each node gives as many as it was asked for, together they have more.

use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use std::collections::VecDeque;

/// Passes answers that come by time.
#[derive(Debug)]
pub enum Trim {
    /// All.
    All,
    /// The first so many flows.
    First(u64),
    /// The last so many flows: they are known when all are there.
    Last {
        /// At most.
        number: usize,
        /// So far.
        kept: VecDeque<GetFlowsResponse>,
        /// Flows among them.
        flows: usize,
        /// Something was left out: what stands before the first flow is about a time that nobody asked for.
        cut: bool,
    },
}

impl Trim {
    /// As the request wants. One that follows says with its number where to begin, not where to end.
    #[must_use]
    pub fn new(request: &GetFlowsRequest) -> Self {
        match request.number {
            0 => Self::All,
            _ if request.follow => Self::All,
            number if request.first || request.since.is_some() => Self::First(number),
            number => Self::Last {
                number: usize::try_from(number).unwrap_or(usize::MAX),
                kept: VecDeque::new(),
                flows: 0,
                cut: false,
            },
        }
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
            Self::Last { number, kept, flows, cut } => {
                // How a node is says nothing about a time.
                if matches!(answer.response_types, Some(ResponseTypes::NodeStatus(_))) {
                    return Some(answer);
                }
                *flows += usize::from(is_flow(&answer));
                kept.push_back(answer);
                *cut |= *flows > *number;
                while *flows > *number || *cut && kept.front().is_some_and(|first| !is_flow(first)) {
                    *flows -= usize::from(kept.pop_front().is_some_and(|first| is_flow(&first)));
                }
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
    pub fn finish(self) -> VecDeque<GetFlowsResponse> {
        match self {
            Self::Last { kept, .. } => kept,
            _ => VecDeque::new(),
        }
    }
}

fn is_flow(answer: &GetFlowsResponse) -> bool {
    matches!(answer.response_types, Some(ResponseTypes::Flow(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::relay::NodeStatusEvent;
    use prost_types::Timestamp;

    fn answer(seconds: i64, flow: bool) -> GetFlowsResponse {
        let lost = ResponseTypes::LostEvents(Default::default());
        let what = if flow { ResponseTypes::Flow(Default::default()) } else { lost };
        let time = Some(Timestamp { seconds, nanos: 0 });
        GetFlowsResponse { time, response_types: Some(what), ..GetFlowsResponse::default() }
    }

    fn told(request: GetFlowsRequest) -> Vec<i64> {
        let mut trim = Trim::new(&request);
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
        let mut trim = Trim::new(&GetFlowsRequest { number: 2, ..GetFlowsRequest::default() });
        assert!(trim.pass(answer).is_some());
    }
}
