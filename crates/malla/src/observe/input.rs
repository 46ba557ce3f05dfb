//! Flows from a file, or from whoever writes into us: lines as `-o jsonpb` prints them.
//!
//! Filters, times, numbers and masks are applied here, by the same code as in a node. The order is that of the file.

use anyhow::{Context, anyhow};
use flow_api::filter::Filters;
use flow_api::json::answer_from_json;
use flow_api::mask::Mask;
use flow_api::moment::moment;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_relay::Trim;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;
use tokio::sync::mpsc;

/// What a request gets of this file; `-` is standard input. It is read on a thread of its own, as far as it is asked for.
///
/// # Errors
/// When the file can't be opened, or the request makes no sense. What is wrong with a line is told among the answers, as
/// the last of them.
pub fn answers(
    path: &Path,
    request: &GetFlowsRequest,
) -> anyhow::Result<BoxStream<'static, anyhow::Result<GetFlowsResponse>>> {
    let (name, input): (String, Box<dyn BufRead + Send>) = if path == Path::new("-") {
        ("standard input".to_owned(), Box::new(BufReader::new(stdin())))
    } else {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("open {name}"))?;
        (name, Box::new(BufReader::new(file)))
    };
    let part = Part::new(Lines { name, input, number: 0 }, request)?;
    let (sender, mut receiver) = mpsc::channel(READY);
    std::thread::spawn(move || {
        for answer in part {
            if sender.blocking_send(answer).is_err() {
                return;
            }
        }
    });
    Ok(futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed())
}

/// Answers, one a line.
struct Lines<R> {
    name: String,
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn read(&mut self) -> anyhow::Result<Option<GetFlowsResponse>> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            let read = self.input.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
            let place = || format!("{}: line {}", self.name, self.number);
            if read.with_context(place)? == 0 {
                return Ok(None);
            }
            if line.len() as u64 > LONGEST {
                return Err(anyhow!("{}: longer than {LONGEST} bytes", place()));
            }
            let text = std::str::from_utf8(&line).with_context(place)?.trim();
            if !text.is_empty() {
                return answer_from_json(text).map(Some).with_context(place);
            }
        }
    }
}

/// The part that was asked for.
struct Part<R> {
    /// `None`: it is at its end.
    lines: Option<Lines<R>>,
    request: GetFlowsRequest,
    filters: Filters,
    mask: Mask,
    trim: Option<Trim>,
    last: VecDeque<GetFlowsResponse>,
}

impl<R: BufRead> Part<R> {
    fn new(lines: Lines<R>, request: &GetFlowsRequest) -> anyhow::Result<Self> {
        let paths = request.field_mask.iter().flat_map(|mask| &mask.paths);
        // What is in a file ends, whoever follows it.
        let request = GetFlowsRequest { follow: false, ..request.clone() };
        Ok(Self {
            lines: Some(lines),
            filters: Filters::new(&request.whitelist, &request.blacklist)?,
            mask: Mask::new(paths.map(String::as_str))?,
            trim: Some(Trim::new(&request, MOST)),
            request,
            last: VecDeque::new(),
        })
    }

    /// Losses and the states of nodes are told whatever flows are asked for.
    fn admits(&self, answer: &GetFlowsResponse) -> bool {
        let Some(ResponseTypes::Flow(flow)) = &answer.response_types else { return answer.response_types.is_some() };
        let time = moment(&answer.time.or(flow.time).unwrap_or_default());
        let (since, until) = (self.request.since.as_ref().map(moment), self.request.until.as_ref().map(moment));
        since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until) && self.filters.admit(flow)
    }

    fn masked(&self, mut answer: GetFlowsResponse) -> GetFlowsResponse {
        if let Some(ResponseTypes::Flow(flow)) = &mut answer.response_types {
            *flow = self.mask.apply(flow);
        }
        answer
    }
}

impl<R: BufRead> Iterator for Part<R> {
    type Item = anyhow::Result<GetFlowsResponse>;

    fn next(&mut self) -> Option<Self::Item> {
        while let (Some(lines), Some(trim)) = (&mut self.lines, &self.trim) {
            let read = if trim.is_done() { Ok(None) } else { lines.read() };
            let answer = match read {
                Ok(Some(answer)) => answer,
                Ok(None) => {
                    self.lines = None;
                    self.last = self.trim.take().into_iter().flat_map(Trim::finish).collect();
                    break;
                }
                Err(error) => {
                    self.lines = None;
                    return Some(Err(error));
                }
            };
            let answer = if self.admits(&answer) { self.masked(answer) } else { continue };
            if let Some(told) = self.trim.as_mut().and_then(|trim| trim.pass(answer)) {
                return Some(Ok(told));
            }
        }
        self.last.pop_front().map(Ok)
    }
}

/// Of a line with its end, bytes; a flow is a few thousand.
const LONGEST: u64 = 1 << 20;
/// Of what waits for the end, where the last are wanted, bytes.
const MOST: usize = 1 << 30;
/// Answers that are read before the first of them is printed.
const READY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::{Flow, FlowFilter, LostEvent, Verdict};
    use flow_api::print::{Form, Options, Printer};
    use prost_types::{FieldMask, Timestamp};

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn flow(seconds: i64, verdict: Verdict) -> GetFlowsResponse {
        let flow = Flow {
            time: time(seconds),
            uuid: seconds.to_string(),
            verdict: verdict as i32,
            node_name: "worker-1".to_owned(),
            ..Flow::default()
        };
        let node_name = flow.node_name.clone();
        GetFlowsResponse { node_name, time: flow.time, response_types: Some(ResponseTypes::Flow(flow)) }
    }

    /// As `malla observe -o jsonpb` prints five flows, of which two were dropped, and a loss.
    fn file() -> (String, Vec<GetFlowsResponse>) {
        use Verdict::{Dropped, Forwarded};
        let lost = ResponseTypes::LostEvents(LostEvent { num_events_lost: 7, ..LostEvent::default() });
        let mut all: Vec<GetFlowsResponse> =
            [(2, Forwarded), (1, Dropped), (3, Forwarded), (4, Dropped), (5, Forwarded)]
                .map(|(seconds, verdict)| flow(seconds, verdict))
                .into();
        all.insert(3, GetFlowsResponse { response_types: Some(lost), ..GetFlowsResponse::default() });
        let mut printer = Printer::new(Options { form: Form::JsonPb, ..Options::default() });
        (all.iter().map(|answer| printer.print(answer).out).collect(), all)
    }

    fn read(text: &[u8], request: &GetFlowsRequest) -> Vec<Result<GetFlowsResponse, String>> {
        let lines = Lines { name: "x".to_owned(), input: text, number: 0 };
        let part = Part::new(lines, request).unwrap();
        part.map(|answer| answer.map_err(|error| format!("{error:#}"))).collect()
    }

    /// The times of what is told; a loss has none.
    fn told(request: GetFlowsRequest) -> Vec<i64> {
        let answers = read(file().0.as_bytes(), &request);
        answers.into_iter().map(|answer| answer.unwrap().time.unwrap_or_default().seconds).collect()
    }

    #[test]
    fn what_was_printed_is_read_back_whole_and_in_its_order() {
        let (text, all) = file();
        let back: Vec<_> = read(text.as_bytes(), &GetFlowsRequest::default()).into_iter().map(Result::unwrap).collect();
        assert_eq!(back, all);
        // Flows alone, empty lines, and a last one without an end.
        let alone = "\n{\"uuid\":\"1\",\"node_name\":\"a\"}\r\n \n{\"uuid\":\"2\",\"node_name\":\"b\"}";
        let back = read(alone.as_bytes(), &GetFlowsRequest::default());
        assert_eq!(back.iter().map(|one| one.as_ref().unwrap().node_name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn it_is_asked_like_a_node() {
        let ask = |number, first| told(GetFlowsRequest { number, first, ..GetFlowsRequest::default() });
        assert_eq!((ask(2, true), ask(2, false), ask(9, false)), (vec![2, 1], vec![4, 5], vec![2, 1, 3, 0, 4, 5]));
        let since = GetFlowsRequest { since: time(3), until: time(4), ..GetFlowsRequest::default() };
        assert_eq!(told(since), [3, 0, 4]);
        let filter = |verdict| vec![FlowFilter { verdict: vec![verdict as i32], ..FlowFilter::default() }];
        let dropped = GetFlowsRequest { whitelist: filter(Verdict::Dropped), ..GetFlowsRequest::default() };
        assert_eq!(told(dropped), [1, 0, 4]);
        let not = GetFlowsRequest { blacklist: filter(Verdict::Dropped), follow: true, ..GetFlowsRequest::default() };
        assert_eq!(told(GetFlowsRequest { number: 1, ..not.clone() }), [5]);
        assert_eq!(told(not), [2, 3, 0, 5]);
        let mask = FieldMask { paths: vec!["uuid".to_owned()] };
        let request = GetFlowsRequest { field_mask: Some(mask), number: 1, first: true, ..GetFlowsRequest::default() };
        let masked = read(file().0.as_bytes(), &request).remove(0).unwrap();
        let expected = Flow { uuid: "2".to_owned(), ..Flow::default() };
        assert_eq!(masked.response_types, Some(ResponseTypes::Flow(expected)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_ends_it() {
        let good = "{\"flow\":{\"uuid\":\"1\"}}\n";
        let long = format!("{good}{{\"flow\":{{\"uuid\":\"{}\"}}}}\n{good}", "a".repeat(LONGEST as usize));
        for (text, place) in [
            (format!("{good}\n{good}no JSON\n{good}").into_bytes(), "x: line 4: "),
            (format!("{good}{{\"verdikt\":1}}\n{good}").into_bytes(), "x: line 2: "),
            (format!("{good}{{\"flow\":{{\"time\":3}}}}\n").into_bytes(), "x: line 2: "),
            ([good.as_bytes(), b"{\"flow\":{\"uuid\":\"\xff\"}}\n"].concat(), "x: line 2: "),
            (long.into_bytes(), "x: line 2: longer than 1048576 bytes"),
        ] {
            let answers = read(&text, &GetFlowsRequest::default());
            let error = answers.last().unwrap().as_ref().unwrap_err();
            assert!(error.starts_with(place), "{error}");
            assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
            assert!(answers[0].is_ok(), "what stands before it is told");
        }
        // What is asked for is there before it.
        let request = GetFlowsRequest { number: 1, first: true, ..GetFlowsRequest::default() };
        assert!(read(format!("{good}no JSON").as_bytes(), &request).iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_file_is_opened_and_a_request_understood_before_anything_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json");
        let refused =
            |request: &GetFlowsRequest| answers(&path, request).map(drop).map_err(|error| format!("{error:#}"));
        assert!(refused(&GetFlowsRequest::default()).unwrap_err().contains("flows.json"));
        std::fs::write(&path, file().0).unwrap();
        let wrong = vec![FlowFilter { source_ip: vec!["300.0.0.1".to_owned()], ..FlowFilter::default() }];
        let error = refused(&GetFlowsRequest { whitelist: wrong, ..GetFlowsRequest::default() }).unwrap_err();
        assert!(error.contains("whitelist[0].source_ip"), "{error}");
        let told: Vec<_> = answers(&path, &GetFlowsRequest::default()).unwrap().collect().await;
        assert_eq!(told.into_iter().map(Result::unwrap).collect::<Vec<_>>(), file().1);
    }
}
