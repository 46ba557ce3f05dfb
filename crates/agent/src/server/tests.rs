use super::*;
use crate::events::sight::tests::seen;
use crate::events::{Names, to_record};
use datapath_layouts::{Event, EventKind};
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Fixture {
    path: std::path::PathBuf,
    hub: Arc<Hub>,
}

impl Fixture {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("malla-server-{}-{name}.sock", std::process::id()));
        std::fs::write(&path, b"left over").unwrap();
        let listener = bind(&path).unwrap();
        let hub = Arc::new(Hub::new("n".into()));
        let table = Box::new(crate::table::memory::MemoryTable::with_capacity(1));
        let followers = Arc::new(Followers::new(table).unwrap());
        let (questions, mut asked) = mpsc::channel(8);
        tokio::spawn(serve(listener, Context { questions, hub: hub.clone(), followers }));
        tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                if let Question::References(address, answer) = question {
                    let references = usize::from(address.is_ipv4());
                    answer.send(References { references, last_resort: 0 }).unwrap();
                }
            }
        });
        Self { path, hub }
    }

    async fn get(&self, path: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream
    }

    async fn text(&self, path: &str) -> String {
        let mut text = String::new();
        self.get(path).await.read_to_string(&mut text).await.unwrap();
        text
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn references_are_answered_and_nonsense_refused() {
    let fixture = Fixture::start("refs");
    let mode = std::fs::metadata(&fixture.path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(fixture.text("/v1/backends/10.244.1.2").await.ends_with(r#"{"references":1,"last_resort":0}"#));
    assert!(fixture.text("/v1/backends/fd00::2").await.ends_with(r#"{"references":0,"last_resort":0}"#));
    assert!(fixture.text("/v1/backends/rubbish").await.starts_with("HTTP/1.1 400"));
    assert!(fixture.text("/v1/trace?end=icmp,1.2.3.4:5").await.starts_with("HTTP/1.1 400"));
    assert!(fixture.text("/nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(fixture.text("/healthz").await.starts_with("HTTP/1.1 503"), "a loop that does not answer is not healthy");
}

#[tokio::test]
async fn a_monitor_gets_lines_and_leaving_ends_it() {
    let fixture = Fixture::start("monitor");
    let mut stream = fixture.get("/v1/monitor?trace=true").await;
    while fixture.hub.tracers() == 0 {
        tokio::task::yield_now().await;
    }
    let event = Event { kind: EventKind::Trace as u8, ..Event::ZERO };
    let record = to_record(&seen(&event, &Names::default()));
    fixture.hub.tell(record.clone());
    let mut seen = String::new();
    while !seen.contains("\"kind\":\"trace\"") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "{seen}");
        seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    drop(stream);
    for _ in 0..2000 {
        if fixture.hub.listeners() == 0 {
            return;
        }
        fixture.hub.tell(record.clone());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("the listener is still there");
}
