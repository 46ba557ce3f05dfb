//! Commands in running containers, and their logs.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use pod_runner::{LogOptions, exec, logs, target};
use serde_json::json;

use crate::support::testbed::Testbed;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sees_the_containers_world_and_its_code_is_passed_on() {
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("web", json!({"containers": [{"name": "c", "image": "malla.dev/echo", "workingDir": "/usr", "env": [{"name": "A", "value": "b"}]}]}));
    let pod = bed.ready("web").await;
    let ip = pod["status"]["podIP"].as_str().unwrap();
    let file = bed.root.join("seen");
    let script = format!(
        "(hostname; pwd; echo $A; cat /etc/hosts; ls /sys/class/net; grep :: /proc/self/cgroup; tr '\\0' ' ' < /proc/1/cmdline) > {}; exit 42",
        file.display()
    );
    let found = target(&bed.options.pods_dir, "default", "web", None).unwrap();
    let code = tokio::task::spawn_blocking(move || exec(&found, &["sh".into(), "-c".into(), script])).await.unwrap();
    assert_eq!(code.unwrap(), 42);
    let seen = std::fs::read_to_string(&file).unwrap();
    assert!(seen.starts_with("web\n/usr\nb\n"), "{seen}");
    for expected in [&format!("{ip}\tweb\n"), "eth0\nlo\n", "/c\n", "workload echo"] {
        assert!(seen.contains(expected), "{expected:?} in\n{seen}");
    }

    let found = target(&bed.options.pods_dir, "default", "web", Some("c")).unwrap();
    let unknown = tokio::task::spawn_blocking(move || exec(&found, &["no-such-program".into()])).await.unwrap();
    assert!(unknown.unwrap_err().to_string().contains("no-such-program"));
    for (pod, container, said) in [("none", None, "not in this lab"), ("web", Some("d"), "no container \"d\"")] {
        let error = target(&bed.options.pods_dir, "default", pod, container).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    bed.api.delete_pod("web", 10);
    bed.until("web", "deletion", serde_json::Value::is_null).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_to_the_end() {
    let mut bed = Testbed::new();
    bed.start_runner();
    let script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; printf unfinished";
    bed.create(
        "talk",
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "malla.dev/host", "command": ["sh", "-c", script]}]}),
    );
    bed.until("talk", "start", |pod| pod["status"]["phase"] == "Running").await;
    let pods = bed.options.pods_dir.clone();
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let all = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        logs(&pods, "default", "talk", &follow, &mut out).map(|()| String::from_utf8(out).unwrap())
    });
    let all =
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("it ends with the container").unwrap().unwrap();
    assert_eq!(all, "line 1\nline 2\nline 3\nline 4\nline 5\nunfinished\n");
    let mut tail = Vec::new();
    let options = LogOptions { tail: Some(1), ..LogOptions::default() };
    logs(&bed.options.pods_dir, "default", "talk", &options, &mut tail).unwrap();
    assert_eq!(tail, b"unfinished\n");
    bed.finish().await;
}

/// `script` gives the command a terminal on the outside; whether it has one inside is asked there.
#[tokio::test(flavor = "multi_thread")]
async fn an_interactive_command_has_a_terminal() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        panic!("this test needs script(1) from bsdutils");
    }
    let mut bed = Testbed::new();
    bed.start_runner();
    bed.create("web", json!({}));
    bed.ready("web").await;
    let tool = format!(
        "{} exec {} default web -- sh -c 'tty; read word; echo got $word; exit 7'",
        env!("CARGO_BIN_EXE_malla-pod"),
        bed.options.pods_dir.display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &tool, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut said = String::new();
    let mut byte = [0u8; 1];
    // Only when the command has spoken is the terminal ready to be typed at.
    while !said.contains("/dev/pts/") && stdout.read(&mut byte).unwrap() == 1 {
        said.push(char::from(byte[0]));
    }
    stdin.write_all(b"hello\n").unwrap();
    stdout.read_to_string(&mut said).unwrap();
    let code = script.wait().unwrap().code();
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("/dev/pts/") && said.contains("got hello"), "{said}");
    drop(stdin);
    bed.finish().await;
}
