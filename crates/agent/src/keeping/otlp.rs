//! Flows as log records to a receiver of OTLP.
//!
//! The ring is the queue: while the receiver does not answer, nothing is taken out of it, and what it turns over meanwhile is told to
//! the receiver as lost, at its place.

use super::args::Exporting;
use super::follower::{Keeper, missed};
use super::metrics::Told;
use super::receiver::Receiver;
use crate::trouble::Trouble;
use anyhow::Context;
use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::ring::{Event, What};
use flow_export::otlp::messages::{LogRecord, PartialSuccess};
use flow_export::otlp::{Client, Delivery, Sender, record, request, size};
use flow_export::{Outflow, sum};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Sends them.
#[derive(Debug)]
pub struct Sent {
    outflow: Outflow,
    batch: Batch,
    /// Flows that the receiver has not taken and does not know of.
    untold: u64,
    runtime: Runtime,
    delivery: Delivery,
    files: Files,
    trouble: Trouble,
    sender: Sender,
    told: Arc<Told>,
}

/// What the receiver's files say: tokens and certificates are renewed while an agent runs.
#[derive(Debug)]
struct Files {
    receiver: Receiver,
    read: flow_export::otlp::Receiver,
    /// When it is looked whether they say something else.
    look: Instant,
}

/// What waits to be sent together.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<LogRecord>,
    bytes: usize,
    /// Flows and losses that they stand for.
    flows: u64,
    /// When it is sent though there is room; `None`: there is nothing.
    due: Option<Instant>,
}

/// Makes ready to send; whether somebody is there shows when there is something.
pub fn open(
    receiver: &Receiver,
    what: &Exporting,
    sender: Sender,
    told: Arc<Told>,
    stop: &CancellationToken,
    trouble: &Trouble,
) -> anyhow::Result<Sent> {
    let outflow = what.outflow().context("the fields that are exported")?;
    // The connection lives on between two batches: it needs a thread of its own.
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("flows-otlp-net").enable_all().build();
    let runtime = runtime.context("start a thread")?;
    let read = receiver.read()?;
    let client = client(&runtime, &read)?;
    let files = Files { receiver: receiver.clone(), read, look: Instant::now() + LOOK };
    let (delivery, trouble) = (Delivery::new(client, stop.clone()), trouble.clone());
    Ok(Sent { outflow, batch: Batch::default(), untold: 0, runtime, delivery, files, trouble, sender, told })
}

fn client(runtime: &Runtime, read: &flow_export::otlp::Receiver) -> anyhow::Result<Client> {
    let _inside = runtime.enter();
    Client::new(read).map_err(|why| anyhow::anyhow!("{}: {why}", read.address))
}

impl Sent {
    fn gather(&mut self, events: Vec<Event>) {
        for event in events {
            let flows = stands_for(&event);
            let record = record(event, &self.sender);
            let bytes = size(&record);
            if self.batch.records.len() >= BATCH || self.batch.bytes + bytes > BYTES {
                self.send();
            }
            self.batch.bytes += bytes;
            self.batch.flows += flows;
            self.batch.records.push(record);
            self.batch.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    /// What waits, however long it takes, and before it what was lost and not told.
    fn send(&mut self) {
        let Batch { mut records, flows, .. } = std::mem::take(&mut self.batch);
        if records.is_empty() {
            return;
        }
        let number = records.len() as u64;
        if self.untold > 0 {
            records.insert(0, record(lost(self.untold), &self.sender));
        }
        let (files, runtime) = (&mut self.files, &self.runtime);
        if let Some(client) = files.look_again(runtime) {
            self.delivery.redirect(client);
        }
        let told = &self.told.otlp;
        let request = request(records, &self.sender);
        let waiting =
            |why: String| self.trouble.tell(Some(format!("flows wait for the receiver of OTLP: {}", short(&why))));
        // What keeps it waiting may be an old certificate.
        let sent = runtime.block_on(self.delivery.deliver_anew(&request, waiting, || files.look_again(runtime)));
        let (lost, trouble) = match sent {
            Ok(PartialSuccess { rejected_log_records, error_message }) => {
                let rejected = u64::try_from(rejected_log_records).unwrap_or(0).min(number);
                told.rejected.inc_by(rejected);
                self.untold = rejected;
                // A message without a number is advice, not a loss.
                let words = format!(
                    "the receiver of OTLP has refused {rejected} of {number} records: {}",
                    short(&error_message)
                );
                (rejected, (rejected > 0).then_some(words))
            }
            Err(why) => {
                told.failed.inc_by(number);
                self.untold += flows;
                // Perhaps by an old token.
                self.files.look = Instant::now();
                (number, Some(format!("{number} records could not be sent by OTLP: {}", short(&why))))
            }
        };
        told.records.inc_by(number - lost);
        self.trouble.tell(trouble);
    }
}

impl Files {
    /// By what they say now, if it is something else and makes sense; otherwise it goes on by what they have said.
    fn look_again(&mut self, runtime: &Runtime) -> Option<Client> {
        if self.look > Instant::now() {
            return None;
        }
        self.look = Instant::now() + LOOK;
        let read = self.receiver.read().ok().filter(|read| *read != self.read)?;
        let client = client(runtime, &read).ok()?;
        self.read = read;
        Some(client)
    }
}

/// Flows that nobody will be told of, or has been, as an event of its own.
fn stands_for(event: &Event) -> u64 {
    match &event.what {
        What::Flow(flow) => flow.aggregate.as_ref().map_or(1, sum),
        What::Lost(lost) => lost.num_events_lost,
        What::Agent(_) | What::Debug(_) => 1,
    }
}

/// As the receiver learns of it.
fn lost(number: u64) -> Event {
    let lost = LostEvent {
        source: LostEventSource::ObserverEventsQueue as i32,
        num_events_lost: number,
        ..LostEvent::default()
    };
    Event { time: flow_api::moment::now(), what: What::Lost(lost) }
}

impl Keeper for Sent {
    fn take(&mut self, events: &[Arc<Event>]) {
        let told = self.told.clone();
        let (now, mut out) = (Instant::now(), Vec::new());
        told.otlp.missed.inc_by(events.iter().map(|event| missed(event)).sum());
        for event in told.sample.of(events, &told.otlp.sampled_out).iter() {
            self.outflow.take(event, now, &mut out);
        }
        self.gather(out);
    }

    fn rest(&mut self) -> Option<Instant> {
        let mut out = Vec::new();
        self.outflow.end_interval(Instant::now(), &mut out);
        self.gather(out);
        if self.batch.due.is_some_and(|due| due <= Instant::now()) {
            self.send();
        }
        [self.batch.due, self.outflow.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        let mut out = Vec::new();
        self.outflow.flush(&mut out);
        self.gather(out);
        self.send();
    }
}

/// What somebody else says may be of any length, and steer a terminal.
fn short(words: &str) -> String {
    words.chars().take(WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Letters of a receiver's words that are told in `malla status`.
const WORDS: usize = 300;
/// How often the files are read again: the kubelet renews those of a Secret about once a minute.
const LOOK: Duration = Duration::from_secs(60);
/// Records in one request: the SDKs' default (`OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`).
const BATCH: usize = 512;
/// Their bytes past which there are no more: receivers take 4 MB by gRPC's default, and one record is some kilobytes.
const BYTES: usize = 2 << 20;
/// How long is waited for more of them: the SDKs' default (`OTEL_BLRP_SCHEDULE_DELAY`).
const GATHER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::args::tests::parsed;
    use super::super::follower::follow;
    use super::*;
    use crate::node_metrics::NodeMetrics;
    use crate::probes::Probes;
    use crate::trouble::Troubles;
    use flow_api::flow::{Flow, Verdict};
    use flow_api::ring::Ring;
    use flow_export::otlp::Protocol;
    use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use tonic::{Request, Response, Status};

    /// Takes nothing as long as it is busy; refuses one of each request, if it is choosy.
    #[derive(Clone, Default)]
    struct Judge(Arc<Mutex<Seen>>);

    #[derive(Default)]
    struct Seen {
        is_busy: bool,
        is_choosy: bool,
        /// Whom it believes; `None`: everybody.
        token: Option<&'static str>,
        /// Of flows, and of events that are told as lost.
        flows: u64,
        lost: u64,
    }

    #[tonic::async_trait]
    impl LogsService for Judge {
        async fn export(
            &self,
            request: Request<ExportLogsServiceRequest>,
        ) -> Result<Response<ExportLogsServiceResponse>, Status> {
            let mut seen = self.0.lock().unwrap();
            if seen.is_busy {
                return Err(Status::unavailable(format!("\u{1b}[1mbusy{}", "!".repeat(999))));
            }
            let token = request.metadata().get("authorization").map(|token| token.to_str().unwrap().to_owned());
            if seen.token.is_some_and(|believed| token.as_deref() != Some(believed)) {
                return Err(Status::unauthenticated(format!("{token:?} is nobody's")));
            }
            let scopes = request.into_inner().resource_logs.into_iter().flat_map(|one| one.scope_logs);
            for record in scopes.flat_map(|scope| scope.log_records) {
                let number = record.attributes.iter().find(|one| one.key == "malla.lost_events.count");
                match number.and_then(|one| one.value.clone()?.value) {
                    Some(Value::IntValue(number)) => seen.lost += number as u64,
                    _ => seen.flows += 1,
                }
            }
            let partly = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "too old".into() };
            Ok(Response::new(ExportLogsServiceResponse { partial_success: seen.is_choosy.then_some(partly) }))
        }
    }

    struct World {
        judge: Judge,
        receiver: Receiver,
        told: Arc<Told>,
        troubles: Troubles,
        stop: CancellationToken,
        _runtime: Runtime,
    }

    fn world(is_busy: bool, is_choosy: bool) -> World {
        let judge = Judge(Arc::new(Mutex::new(Seen { is_busy, is_choosy, ..Seen::default() })));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(at)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(LogsServiceServer::new(judge.clone()));
        let coming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(server.serve_with_incoming(coming));
        let told = Arc::new(Told::new(&parsed(&[]).unwrap(), None, Probes::default(), NodeMetrics::default()));
        let receiver = Receiver {
            address,
            protocol: Protocol::Grpc,
            is_compressed: false,
            headers: None,
            authorities: "/nowhere".into(),
            identity: None,
        };
        let (troubles, stop) = (Troubles::default(), CancellationToken::new());
        World { judge, receiver, told, troubles, stop, _runtime: runtime }
    }

    impl World {
        fn open(&self, trouble: &Trouble) -> anyhow::Result<Sent> {
            let sender = Sender { node: "n".into(), cluster: "c".into() };
            open(&self.receiver, &Exporting::default(), sender, self.told.clone(), &self.stop, trouble)
        }
    }

    /// A file with headers of one's own.
    struct HeadersFile(tempfile::TempDir);

    impl HeadersFile {
        fn path(&self) -> PathBuf {
            self.0.path().join("headers")
        }

        fn write(&self, text: &str) {
            std::fs::write(self.path(), text).unwrap();
            std::fs::set_permissions(self.path(), PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    /// While the file still has the old one.
    fn believing_the_new_token(is_busy: bool) -> (World, HeadersFile) {
        let (mut world, headers) = (world(is_busy, false), HeadersFile(tempfile::tempdir().unwrap()));
        headers.write("authorization=Bearer old-token");
        world.receiver.headers = Some(headers.path());
        world.judge.0.lock().unwrap().token = Some("Bearer new-token");
        (world, headers)
    }

    fn flow() -> Event {
        let flow = Flow { verdict: Verdict::Forwarded as i32, ..Flow::default() };
        Event { time: Default::default(), what: What::flow(flow) }
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let found = (0..3000).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            holds()
        });
        assert!(found, "not in time: {what}");
    }

    #[test]
    fn a_receiver_that_is_busy_holds_nobody_up_and_learns_what_it_missed() {
        let (world, ring) = (world(true, false), Ring::new(700));
        let trouble = world.troubles.matter();
        let mut sent = world.open(&trouble).unwrap();
        std::thread::scope(|scope| {
            let (ring, stop) = (&ring, &world.stop);
            // What goes wrong here ends the thread, too.
            let _stops = stop.clone().drop_guard();
            scope.spawn(move || follow(ring, &mut sent, stop));
            let busy = || world.troubles.now().first().is_some_and(|words| words.contains("busy!!"));
            ring.write(flow());
            until("the trouble", busy);
            // It stands still while the ring turns.
            (0..5000).for_each(|_| ring.write(flow()));
            let written = ring.end();
            let words = &world.troubles.now()[0];
            assert!(words.len() < 400 && !words.contains(char::is_control), "{words:?}");
            world.judge.0.lock().unwrap().is_busy = false;
            let all = || {
                let seen = world.judge.0.lock().unwrap();
                (seen.flows, seen.lost)
            };
            until("all of them", || all().0 + all().1 >= written);
            until("no trouble", || world.troubles.now().is_empty());
            let (flows, lost) = all();
            assert_eq!(flows + lost, written);
            assert!(lost > 3000, "{lost}");
            assert_eq!(world.told.otlp.missed.get(), lost);
            world.stop.cancel();
        });
        let told = &world.told.otlp;
        assert_eq!((told.failed.get(), told.rejected.get()), (0, 0));
    }

    #[test]
    fn what_the_receiver_does_not_want_is_counted_and_told_until_it_takes_all() {
        let world = world(false, true);
        let trouble = world.troubles.matter();
        let mut sent = world.open(&trouble).unwrap();
        let three: Vec<_> = (0..3).map(|_| Arc::new(flow())).collect();
        sent.take(&three);
        sent.finish();
        let told = &world.told.otlp;
        assert_eq!((told.records.get(), told.rejected.get(), told.failed.get()), (2, 1, 0));
        assert_eq!(world.troubles.now(), ["the receiver of OTLP has refused 1 of 3 records: too old"]);
        world.judge.0.lock().unwrap().is_choosy = false;
        sent.take(&three);
        sent.finish();
        assert_eq!((told.records.get(), told.rejected.get()), (5, 1));
        assert_eq!(world.troubles.now(), [""; 0]);
        // The judge has counted what it has refused; that it is lost is told once.
        let counted = || {
            let seen = world.judge.0.lock().unwrap();
            (seen.flows, seen.lost)
        };
        assert_eq!(counted(), (6, 1));
        sent.take(&three);
        sent.finish();
        assert_eq!(counted(), (9, 1));
    }

    #[test]
    fn who_ends_while_nobody_takes_it_counts_it_as_lost_and_ends() {
        let world = world(true, false);
        let trouble = world.troubles.matter();
        let mut sent = world.open(&trouble).unwrap();
        world.stop.cancel();
        for _ in 0..9 {
            sent.take(&[Arc::new(flow())]);
            sent.finish();
        }
        assert_eq!((world.told.otlp.records.get(), world.told.otlp.failed.get()), (0, 9));
    }

    #[test]
    fn a_token_that_is_renewed_is_used_and_never_told() {
        let (world, headers) = believing_the_new_token(false);
        let mut sent = world.open(&world.troubles.matter()).unwrap();
        let mut once = || {
            sent.take(&[Arc::new(flow())]);
            sent.finish();
            let told = &world.told.otlp;
            (told.records.get(), told.failed.get())
        };
        assert_eq!(once(), (0, 1));
        let trouble = world.troubles.now().concat();
        assert!(trouble.contains("is nobody's") && !trouble.contains("old-token"), "{trouble}");
        // One that makes no sense is no reason to forget the last that did.
        headers.write("Bearer new-token");
        assert_eq!(once(), (0, 2));
        headers.write("authorization=Bearer new-token");
        assert_eq!(once(), (1, 2));
        assert_eq!(world.troubles.now(), [""; 0]);
    }

    #[test]
    fn what_waits_goes_on_by_what_was_renewed_meanwhile() {
        let (world, headers) = believing_the_new_token(true);
        let mut sent = world.open(&world.troubles.matter()).unwrap();
        headers.write("authorization=Bearer new-token");
        // Not before the first attempt, and well before the second.
        sent.files.look = Instant::now() + Duration::from_millis(100);
        std::thread::scope(|scope| {
            // What goes wrong here ends the thread, too.
            let _stops = world.stop.clone().drop_guard();
            let sending = scope.spawn(move || {
                sent.take(&[Arc::new(flow())]);
                sent.finish();
            });
            until("the trouble", || !world.troubles.now().is_empty());
            world.judge.0.lock().unwrap().is_busy = false;
            sending.join().unwrap();
        });
        let told = &world.told.otlp;
        assert_eq!((told.records.get(), told.failed.get(), world.judge.0.lock().unwrap().flows), (1, 0, 1));
        assert_eq!(world.troubles.now(), [""; 0]);
    }

    #[test]
    fn authorities_that_can_not_be_read_are_told() {
        let mut world = world(false, false);
        world.receiver.address = "https://localhost:1".to_owned();
        let error = world.open(&world.troubles.matter()).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
    }
}
