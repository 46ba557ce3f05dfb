use super::super::made::{BACKEND, CLIENT, event};
use super::*;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// An agent that tells one event to whoever follows, and then does as it is told to.
async fn agent(folder: &Path, name: &str, then: Then) -> Agent {
    let agent = Agent { name: name.to_owned(), socket: folder.join(name) };
    let listener = UnixListener::bind(&agent.socket).unwrap();
    let record = Line::Flow(Box::new(event(name, "from-network", 0, CLIENT, BACKEND, &["SYN"])));
    let line = serde_json::to_string(&record).unwrap() + "\n";
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = match then {
            Then::Refuse => "HTTP/1.1 503 Busy\r\ncontent-length: 10\r\n\r\nall taken\n".to_owned(),
            Then::GoOn | Then::End => {
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n", line.len())
            }
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if then == Then::GoOn {
            std::future::pending::<()>().await;
        }
    });
    agent
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
    Refuse,
}

fn end() -> End {
    format!("tcp,{CLIENT}").parse().unwrap()
}

#[tokio::test]
async fn who_can_not_follow_is_named_and_the_others_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Agent { name: "gone".into(), socket: folder.path().join("gone") };
    let deaf = Agent { name: "deaf".into(), socket: folder.path().join("deaf") };
    let _silent = UnixListener::bind(&deaf.socket).unwrap();
    let (well, full) =
        (agent(folder.path(), "well", Then::GoOn).await, agent(folder.path(), "full", Then::Refuse).await);
    let followed = follow(&[nobody.clone(), deaf, full, well], end()).await.unwrap();
    // Who hangs up or refuses costs no time when it is asked again.
    assert_eq!(followed.silent.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["deaf"]);
    let account = followed.end().await;
    assert_eq!(account.records.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 1]);
    for (note, words) in account.notes.iter().zip(["node gone", "node deaf tells nothing: no answer", "all taken"]) {
        assert!(note.contains(words), "{note}");
    }
    assert_eq!(account.notes.len(), 3, "{:?}", account.notes);
    assert!(follow(&[nobody], end()).await.unwrap_err().to_string().contains("node gone"));
}

#[tokio::test]
async fn an_agent_that_ends_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (well, ends) = (agent(folder.path(), "well", Then::GoOn).await, agent(folder.path(), "ends", Then::End).await);
    let account = follow(&[well, ends], end()).await.unwrap().end().await;
    assert_eq!(account.records.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let [note] = &account.notes[..] else { panic!("{:?}", account.notes) };
    assert!(note.contains("node ends") && note.contains("missing"), "{note}");
}
