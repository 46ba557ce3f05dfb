//! What is in the files, and which files there are.

use flow_api::flow::layer7::Record;
use flow_api::flow::{Endpoint, Flow, FlowFilter, Http, HttpHeader, Ip, Kafka, Layer7, LostEvent};
use flow_api::ring::{Event, What};
use flow_export::{Outflow, Redaction, RotatingFile, Selection, Settings};
use jiff::Timestamp;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

fn flow() -> Flow {
    Flow {
        time: Some(prost_types::Timestamp { seconds: 1, nanos: 5 }),
        uuid: "u".to_owned(),
        verdict: 2,
        drop_reason: 133,
        ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "10.0.0.2".to_owned(), ..Ip::default() }),
        source: Some(Endpoint {
            identity: 300,
            labels: vec!["k8s:app=a".to_owned(), "k8s:owner=ann".to_owned()],
            ..Endpoint::default()
        }),
        node_labels: vec!["owner=ben".to_owned()],
        is_reply: Some(false),
        summary: "a line".to_owned(),
        ..Flow::default()
    }
}

fn http() -> Flow {
    let header = |key: &str| HttpHeader { key: key.to_owned(), value: format!("secret-{key}") };
    let http = Http {
        url: "https://ann:p@ss@shop.example:8080/a/b?token=secret#secret".to_owned(),
        method: "GET".to_owned(),
        headers: ["Authorization", "Accept", "X-Id"].map(header).into(),
        ..Http::default()
    };
    let l7 = Layer7 { record: Some(Record::Http(http)), ..Layer7::default() };
    Flow { l7: Some(l7), summary: "GET https://ann:p@ss@shop.example?token=secret".to_owned(), ..flow() }
}

fn line(selection: &Selection, what: What) -> Option<String> {
    let event = Event { time: prost_types::Timestamp { seconds: 1, nanos: 0 }, what };
    let mut out = Vec::new();
    Outflow::new(selection, None).unwrap().take(&event, Instant::now(), &mut out);
    out.pop().map(|event| flow_export::line(event, "worker-1"))
}

fn redacted(redaction: Redaction, flow: Flow) -> String {
    line(&Selection { redaction, ..Selection::default() }, What::flow(flow)).unwrap()
}

#[test]
fn a_line_is_hubbles_export_event() {
    assert_eq!(
        line(&Selection::default(), What::flow(flow())).unwrap(),
        concat!(
            r#"{"flow":{"time":"1970-01-01T00:00:01.000000005Z","uuid":"u","verdict":"DROPPED","drop_reason":133,"#,
            r#""IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"#,
            r#""source":{"identity":300,"labels":["k8s:app=a","k8s:owner=ann"]},"node_labels":["owner=ben"],"#,
            r#""is_reply":false,"Summary":"a line"},"node_name":"worker-1","time":"1970-01-01T00:00:01Z"}"#
        )
    );
    let lost = LostEvent { num_events_lost: 7, source: 3, ..LostEvent::default() };
    assert_eq!(
        line(&Selection::default(), What::Lost(lost)).unwrap(),
        r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"7"},"node_name":"worker-1","time":"1970-01-01T00:00:01Z"}"#
    );
}

#[test]
fn lists_say_what_leaves_and_the_mask_how_much_of_it() {
    let from = |ip: &str| vec![FlowFilter { source_ip: vec![ip.to_owned()], ..FlowFilter::default() }];
    let leaves = |selection: &Selection| line(selection, What::flow(flow())).is_some();
    assert!(leaves(&Selection { allowlist: from("10.0.0.1"), ..Selection::default() }));
    assert!(!leaves(&Selection { allowlist: from("10.0.0.9"), ..Selection::default() }));
    assert!(!leaves(&Selection { denylist: from("10.0.0.0/8"), ..Selection::default() }));
    assert!(!leaves(&Selection { allowlist: from("10.0.0.1"), denylist: from("10.0.0.1"), ..Selection::default() }));
    // Losses are told whatever is wanted: a file without them would claim to be whole.
    let strict = Selection { allowlist: from("10.0.0.9"), ..Selection::default() };
    assert!(line(&strict, What::Lost(LostEvent::default())).is_some());
    let masked = Selection { fieldmask: vec!["verdict".into(), "source.identity".into()], ..Selection::default() };
    assert_eq!(
        line(&masked, What::flow(flow())).unwrap(),
        r#"{"flow":{"verdict":"DROPPED","source":{"identity":300}},"node_name":"worker-1","time":"1970-01-01T00:00:01Z"}"#
    );
    assert!(Outflow::new(&Selection { fieldmask: vec!["sauce".into()], ..Selection::default() }, None).is_err());
    assert!(Outflow::new(&Selection { denylist: from("ten"), ..Selection::default() }, None).is_err());
}

#[test]
fn what_hubble_does_not_know_leaves_only_when_it_is_named() {
    let ended = flow_api::malla::Ended { way: 1, ..Default::default() };
    let flow = Flow { extensions: Some(flow_api::extension::pack(&ended)), ..flow() };
    let told = |fieldmask: &[&str]| {
        let fieldmask = fieldmask.iter().map(ToString::to_string).collect();
        line(&Selection { fieldmask, ..Selection::default() }, What::flow(flow.clone())).unwrap()
    };
    assert!(!told(&[]).contains("extensions"), "{}", told(&[]));
    assert!(!told(&["verdict"]).contains("extensions"));
    assert!(told(&["verdict", "extensions"]).contains("malla.Ended"), "{}", told(&["verdict", "extensions"]));
}

#[test]
fn what_must_not_leave_does_not() {
    let url = |redaction: Redaction| {
        let line = redacted(redaction, http());
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        (json["flow"]["l7"]["http"]["url"].as_str().unwrap().to_owned(), line)
    };
    let (query, line) = url(Redaction { http_urlquery: true, ..Redaction::default() });
    assert_eq!(query, "https://ann:p@ss@shop.example:8080/a/b");
    assert!(!line.contains("token"), "{line}");
    let (user, line) = url(Redaction { http_userinfo: true, ..Redaction::default() });
    assert_eq!(user, "https://ann:HUBBLE_REDACTED@shop.example:8080/a/b?token=secret#secret");
    assert!(!line.contains("p@ss"), "{line}");
    let deny = Redaction { http_headers_deny: vec!["authorization".into()], ..Redaction::default() };
    let (_, line) = url(deny);
    assert!(!line.contains("secret-Authorization") && line.contains("secret-Accept") && line.contains("secret-X-Id"));
    let allow = Redaction { http_headers_allow: vec!["ACCEPT".into()], ..Redaction::default() };
    let (_, line) = url(allow);
    assert!(!line.contains("secret-Authorization") && line.contains("secret-Accept") && !line.contains("secret-X-Id"));
    let kafka = Layer7 {
        record: Some(Record::Kafka(Kafka { api_key: "secret".into(), ..Kafka::default() })),
        ..Layer7::default()
    };
    let kafka = Flow { l7: Some(kafka), summary: "secret".into(), ..flow() };
    let line = redacted(Redaction { kafka_apikey: true, ..Redaction::default() }, kafka);
    assert!(!line.contains("secret") && line.contains("HUBBLE_REDACTED"), "{line}");
    let line = redacted(Redaction { labels: vec!["owner".into()], ..Redaction::default() }, flow());
    assert!(!line.contains("ann") && !line.contains("ben") && line.contains("k8s:app=a"), "{line}");
    // And nothing else is touched.
    assert_eq!(redacted(Redaction::default(), http()), line_of(http()));
    assert!(redacted(Redaction { kafka_apikey: true, ..Redaction::default() }, flow()).contains("a line"));
}

fn line_of(flow: Flow) -> String {
    line(&Selection::default(), What::flow(flow)).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_796_000_000 + seconds).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_are_put_aside_when_full_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    std::fs::write(folder.path().join("events-mine.log"), "precious").unwrap();
    let settings = Settings { file_max_size_mb: 1, file_max_backups: 2, ..Settings::new(&path) };
    let mut file = RotatingFile::open(&settings).unwrap();
    // Four lines fill a file to the byte.
    let line = |number: u64| format!("{}{number:07}", "0".repeat((1 << 18) - 8));
    for number in 0..17 {
        file.write_line(&line(number), at(number as i64 / 8)).unwrap();
    }
    file.flush().unwrap();
    let first = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n') && text.len() <= 1 << 20);
        text.lines().map(|line| line.trim_start_matches('0').parse().unwrap_or(0)).collect::<Vec<u64>>()
    };
    assert_eq!(first(&path), [16]);
    let backups = file.backups().unwrap();
    assert_eq!(backups.iter().map(|path| first(path)).collect::<Vec<_>>(), [vec![8, 9, 10, 11], vec![12, 13, 14, 15]]);
    assert!(folder.path().join("events-mine.log").exists());
    for path in backups.iter().chain([&path]) {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Two in the same millisecond are two.
    let before = files(folder.path()).len();
    let mut more = RotatingFile::open(&Settings { file_max_backups: 9, ..settings }).unwrap();
    more.rotate(at(100)).unwrap();
    more.write_line("x", at(100)).unwrap();
    more.rotate(at(100)).unwrap();
    assert_eq!(files(folder.path()).len(), before + 2);
}

#[test]
fn older_files_are_compressed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let mut file = RotatingFile::open(&Settings { file_compress: true, ..Settings::new(&path) }).unwrap();
    file.write_line("one", at(0)).unwrap();
    file.rotate(at(0)).unwrap();
    file.write_line("two", at(0)).unwrap();
    file.flush().unwrap();
    assert_eq!(files(folder.path()), ["events-2026-11-30T00-53-20.000.log.gz", "events.log"]);
    let mut text = String::new();
    let gz = std::fs::File::open(&file.backups().unwrap()[0]).unwrap();
    flate2::read::GzDecoder::new(gz).read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n");
}

#[test]
fn half_a_line_that_a_crash_left_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    for (left, kept) in [("", ""), ("{\"a\":1}\n{\"b", "{\"a\":1}\n"), ("{\"half", ""), ("{}\n", "{}\n")] {
        std::fs::write(&path, left).unwrap();
        let mut file = RotatingFile::open(&Settings::new(&path)).unwrap();
        file.write_line("{}", at(0)).unwrap();
        file.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}{{}}\n"));
    }
    let long = format!("{{}}\n{}", "x".repeat(200_000));
    std::fs::write(&path, long).unwrap();
    drop(RotatingFile::open(&Settings::new(&path)).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
}

const CHILD: &str = "FLOW_EXPORT_TEST_CHILD";

#[test]
fn a_rotation_that_failed_is_done_later_and_no_line_is_half() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return rotate_without_files(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_rotation_that_failed_is_done_later_and_no_line_is_half"])
        .env(CHILD, folder.path().join("of flows"))
        .status()
        .unwrap();
    assert!(status.success());
}

/// In a process of its own, because its limits are everybody's in it.
fn rotate_without_files(folder: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    std::fs::create_dir(folder).unwrap();
    let path = folder.join("events.log");
    let settings = Settings { file_max_size_mb: 1, file_compress: true, ..Settings::new(&path) };
    let mut file = RotatingFile::open(&settings).unwrap();
    let line = "0".repeat((1 << 18) - 1);
    (0..4).for_each(|_| file.write_line(&line, at(0)).unwrap());
    // No file can be opened: the other can't be begun.
    let whole = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..whole }).unwrap();
    let refused =
        (0..2).map(|_| file.write_line(&line, at(1)).unwrap_err()).map(|error| (error.operation, error.lines));
    let refused: Vec<_> = refused.collect();
    setrlimit(Resource::Nofile, whole).unwrap();
    assert_eq!(refused, [("open", 1), ("open", 1)]);
    assert_eq!(files(folder), ["events.log"]);
    file.write_line(&line, at(2)).unwrap();
    file.flush().unwrap();
    assert_eq!(files(folder).len(), 2);
    // The folder has gone, and comes again.
    (0..3).for_each(|_| file.write_line(&line, at(3)).unwrap());
    std::fs::rename(folder, folder.with_extension("gone")).unwrap();
    assert_eq!(file.write_line(&line, at(4)).unwrap_err().lines, 1);
    std::fs::create_dir(folder).unwrap();
    file.write_line("{}", at(5)).unwrap();
    file.flush().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
    // What can't be compressed stays as it is, and the next line comes.
    let in_the_way = "events-2026-11-30T00-53-26.000.log.draft";
    std::fs::create_dir(folder.join(in_the_way)).unwrap();
    assert_eq!(file.rotate(at(6)).unwrap_err().operation, "create");
    file.write_line("{}", at(7)).unwrap();
    file.rotate(at(7)).unwrap();
    assert_eq!(
        files(folder),
        ["events-2026-11-30T00-53-26.000.log", in_the_way, "events-2026-11-30T00-53-27.000.log.gz", "events.log"]
    );
}

#[test]
fn two_things_that_go_wrong_at_once_lose_no_line_untold() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return compress_and_write_without_room(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // A file that grows past the limit is an error and not the end of the process.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "two_things_that_go_wrong_at_once_lose_no_line_untold"])
        .env(CHILD, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// In a process of its own, because its limits are everybody's in it.
fn compress_and_write_without_room(folder: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let path = folder.join("events.log");
    let settings = Settings { file_max_size_mb: 1, file_compress: true, ..Settings::new(&path) };
    let mut file = RotatingFile::open(&settings).unwrap();
    let line = "0".repeat((1 << 18) - 1);
    (0..4).for_each(|_| file.write_line(&line, at(0)).unwrap());
    file.flush().unwrap();
    std::fs::create_dir(folder.join("events-2026-11-30T00-53-20.000.log.draft")).unwrap();
    let whole = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), ..whole }).unwrap();
    let error = file.write_line(&line, at(0)).unwrap_err();
    setrlimit(Resource::Fsize, whole).unwrap();
    assert_eq!((error.operation, error.lines), ("create", 0));
    file.flush().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == format!("{line}\n"), "{} bytes of {} are there", text.len(), line.len() + 1);
}

#[test]
fn what_a_crash_left_half_compressed_goes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    for name in
        ["events-2026-11-30T00-53-20.000.log", "events-2026-11-30T00-53-20.000.log.draft", "events-mine.log.draft"]
    {
        std::fs::write(folder.path().join(name), "x\n").unwrap();
    }
    let _file = RotatingFile::open(&Settings::new(&path)).unwrap();
    let left = ["events-2026-11-30T00-53-20.000.log", "events-mine.log.draft", "events.log"];
    assert_eq!(files(folder.path()), left);
}

#[test]
fn others_read_whole_lines_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let mut file = RotatingFile::open(&Settings::new(&path)).unwrap();
    let line = "x".repeat(999);
    for _ in 0..1000 {
        file.write_line(&line, at(0)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len() % 1000, 0);
    }
}
