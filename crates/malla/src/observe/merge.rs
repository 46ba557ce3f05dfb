//! Answers of several nodes as one answer: by time, and no more than were asked for.

use super::is_flow;
use flow_api::observer::GetFlowsResponse;

/// `number` 0 is all; losses are not counted.
pub fn in_time(mut answers: Vec<GetFlowsResponse>, number: u64, first: bool) -> Vec<GetFlowsResponse> {
    answers.sort_by_key(|answer| answer.time.map(|time| (time.seconds, time.nanos)));
    let flows = answers.iter().filter(|answer| is_flow(answer)).count() as u64;
    if number == 0 || flows <= number {
        return answers;
    }
    // What is left out: at the end, or at the beginning.
    let mut leave = flows - number;
    if first {
        answers.reverse();
    }
    let mut kept: Vec<GetFlowsResponse> = answers
        .into_iter()
        .skip_while(|answer| {
            let skip = leave > 0;
            leave -= u64::from(skip && is_flow(answer));
            // With the losses between what is left out and what is not.
            skip || !is_flow(answer)
        })
        .collect();
    if first {
        kept.reverse();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::observer::get_flows_response::ResponseTypes;

    fn answer(seconds: i64, flow: bool) -> GetFlowsResponse {
        let what =
            if flow { ResponseTypes::Flow(Default::default()) } else { ResponseTypes::LostEvents(Default::default()) };
        GetFlowsResponse {
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            response_types: Some(what),
            ..GetFlowsResponse::default()
        }
    }

    #[test]
    fn nodes_are_one_and_no_more_than_asked() {
        let all = [answer(5, true), answer(7, true), answer(2, true), answer(6, false), answer(6, true)].to_vec();
        let seconds = |number, first| -> Vec<i64> {
            in_time(all.clone(), number, first).iter().map(|answer| answer.time.unwrap().seconds).collect()
        };
        assert_eq!(seconds(0, false), [2, 5, 6, 6, 7]);
        assert_eq!(seconds(2, false), [6, 7]);
        assert_eq!(seconds(3, false), [5, 6, 6, 7]);
        assert_eq!(seconds(2, true), [2, 5]);
        assert_eq!(seconds(9, true), [2, 5, 6, 6, 7]);
    }
}
