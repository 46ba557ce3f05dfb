//! The log beside a list in memory: random appends, rotations, retention, crashes that cut or spoil the end of the journal, and
//! random questions, each answered as the list would.

mod flows;

use flow_api::flow::{FlowFilter, LostEvent, Workload};
use flow_api::ring::{Event, What};
use flow_log::{Frames, Order, Pod, Query, Settings, Store};
use flows::{SECOND, flow, time};
use proptest::prelude::*;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    /// So many flows, and perhaps a loss, in one record.
    Append(usize, bool),
    Close,
    /// Converts, and removes what is older than so many seconds.
    Keep(u64),
    /// The process dies; the journal ends in the middle of something.
    Cut(u16),
    /// The process dies; one byte of the journal is another.
    Spoil(u16),
    Ask(Question),
}

#[derive(Clone, Debug)]
struct Question {
    parts: u32,
    who: u32,
    from: u64,
    to: u64,
    number: u64,
    newest_first: bool,
}

/// A part, and its records: rows, and where the record ends in the file.
#[derive(Default)]
struct Part {
    records: Vec<(Vec<Event>, u64)>,
}

struct Model {
    parts: Vec<Part>,
    next: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let question = (0_u32..64, 0_u32..9, 0_u64..400, 0_u64..400, 0_u64..40, any::<bool>());
    let question = question.prop_map(|(parts, who, from, to, number, newest_first)| {
        Step::Ask(Question { parts, who, from, to: from + to, number, newest_first })
    });
    let step = prop_oneof![
        6 => (0_usize..60, any::<bool>()).prop_map(|(flows, lost)| Step::Append(flows, lost)),
        2 => Just(Step::Close),
        2 => (1_u64..600).prop_map(Step::Keep),
        1 => any::<u16>().prop_map(Step::Cut),
        1 => any::<u16>().prop_map(Step::Spoil),
        6 => question,
    ];
    proptest::collection::vec(step, 1..40)
}

fn settings(folder: &Path, age: u64) -> Settings {
    Settings { most_age: Duration::from_secs(age), segment_flows: u32::MAX, ..Settings::new(folder) }
}

impl Model {
    fn now(&self) -> i64 {
        self.next as i64 * SECOND
    }

    fn rows(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.parts.iter().flat_map(|part| &part.records).flat_map(|(events, _)| events)
    }

    fn append(&mut self, store: &mut Store, flows: usize, loss: bool) {
        let (mut frames, mut events) = (Frames::default(), Vec::new());
        for _ in 0..flows {
            let flow = flow(self.next);
            frames.flow(&flow);
            events.push(Event { time: flows::told_time(flow.time.as_ref()), what: What::flow(flow) });
            self.next += 1;
        }
        if loss {
            let lost = LostEvent { num_events_lost: self.next, last: Some(time(self.next)), ..LostEvent::default() };
            frames.lost(&lost);
            events.push(Event { time: time(self.next), what: What::Lost(lost) });
        }
        store.append(&frames, self.now()).unwrap();
        if !events.is_empty() {
            self.parts.last_mut().unwrap().records.push((events, store.open_bytes()));
        }
    }

    /// Closed parts go from the oldest on, while the newest in them is too old.
    fn keep(&mut self, age: u64) {
        let oldest = self.now() - age as i64 * SECOND;
        let closed = self.parts.len() - 1;
        let is_old = |part: &Part| {
            let times = part.records.iter().flat_map(|(events, _)| events).map(|event| match &event.what {
                What::Flow(flow) => flows::nanoseconds(flow.time.as_ref()),
                _ => flows::nanoseconds(Some(&event.time)),
            });
            times.max().is_none_or(|newest| newest < oldest)
        };
        let gone = self.parts[..closed].iter().take_while(|part| is_old(part)).count();
        self.parts.drain(..gone);
    }

    /// What is after the first byte that is not as it was is gone.
    fn crash(&mut self, at: u64) {
        self.parts.last_mut().unwrap().records.retain(|(_, end)| *end <= at);
    }
}

fn query(q: &Question) -> Query {
    let has = |bit: u32| q.parts & (1 << bit) != 0;
    let filter = FlowFilter {
        source_pod: vec![format!("shop/pod-{}", q.who)],
        verdict: vec![2, 1],
        destination_workload: vec![Workload { name: format!("app-{}", q.who % 3), kind: String::new() }],
        ..FlowFilter::default()
    };
    let other = FlowFilter { destination_ip: vec![flows::address(q.who)], ..FlowFilter::default() };
    let query = Query {
        since: has(0).then_some(q.from as i64 * SECOND),
        until: has(0).then_some(q.to as i64 * SECOND),
        addresses: if has(1) { vec![flows::address(q.who).parse().unwrap()] } else { Vec::new() },
        identities: if has(2) { vec![1000 + q.who] } else { Vec::new() },
        pods: if has(3) { vec![Pod { namespace: "shop".into(), name: format!("pod-{}", q.who) }] } else { Vec::new() },
        workloads: if has(4) { vec![format!("app-{}", q.who % 3)] } else { Vec::new() },
        verdicts: if q.who == 8 { vec![2] } else { Vec::new() },
        number: q.number,
        order: if q.newest_first { Order::NewestFirst } else { Order::OldestFirst },
        ..Query::default()
    };
    if has(5) { query.filtered(&[filter, other], &[]).unwrap() } else { query }
}

/// The slow and obvious answer.
fn expected(model: &Model, query: &Query) -> Vec<Event> {
    let mut told: Vec<Event> = model.rows().filter(|event| query.admits(event)).cloned().collect();
    if query.order == Order::NewestFirst {
        told.reverse();
    }
    if query.number > 0 {
        let is_flow = |event: &Event| matches!(event.what, What::Flow(_));
        let mut flows = 0;
        told = told
            .into_iter()
            .take_while(|event| {
                let wanted = flows < query.number;
                flows += u64::from(is_flow(event));
                wanted
            })
            .collect();
    }
    told
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "journal"));
    paths.sort();
    paths
}

fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("flows");
    let mut model = Model { parts: vec![Part::default()], next: 0 };
    let mut store = Store::open(settings(&folder, 1_000_000), 0).unwrap().0;
    for step in steps {
        match step {
            Step::Append(flows, loss) => model.append(&mut store, flows, loss),
            Step::Close => {
                store.close().unwrap();
                model.parts.push(Part::default());
            }
            Step::Keep(age) => {
                store.keep_with(&settings(&folder, age), model.now()).unwrap();
                model.keep(age);
            }
            Step::Cut(at) | Step::Spoil(at) => {
                drop(store);
                let last = journals(&folder).pop().unwrap();
                let file = std::fs::OpenOptions::new().read(true).write(true).open(last).unwrap();
                let at = u64::from(at) % file.metadata().unwrap().len();
                if matches!(step, Step::Cut(_)) {
                    file.set_len(at).unwrap();
                } else {
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
                }
                model.crash(at);
                let (opened, recovery) = Store::open(settings(&folder, 1_000_000), model.now()).unwrap();
                assert_eq!(recovery.rows, model.rows().count() as u64);
                store = opened;
            }
            Step::Ask(question) => {
                let query = query(&question);
                let wanted = expected(&model, &query);
                let told: Vec<Event> = store.reader().query(query.clone()).map(Result::unwrap).collect();
                assert_eq!(told, wanted, "{question:?}");
                let offline = flow_log::Reader::open(&folder).unwrap();
                assert_eq!(offline.query(query).map(Result::unwrap).collect::<Vec<_>>(), wanted, "{question:?}");
            }
        }
    }
    let all: Vec<Event> = store.reader().query(Query::default()).map(Result::unwrap).collect();
    assert_eq!(all, model.rows().cloned().collect::<Vec<_>>());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_answers_as_a_list_in_memory_would(steps in steps()) {
        run(steps);
    }
}
