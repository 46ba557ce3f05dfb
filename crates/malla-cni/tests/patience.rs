//! The plugin never hangs: neither on an agent that is stopped nor on a runtime that never closes standard input.
//! Takes half a minute, nearly all of it waiting. Needs root.

mod support;

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Container, Node, call, plugin, variables};

#[test]
fn agent_process() {
    support::agent_process();
}

#[test]
fn a_stopped_agent_and_an_open_input_end_in_try_again() {
    let node = Node::new();
    let config = node.config("1.1.0");
    let container = Container::new("patient");
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            signal(node.agent_pid(), libc::SIGSTOP);
            let outcome = call("ADD", &container, &config);
            assert_eq!(outcome.code(), 11, "{outcome:?}");
            assert!((15..25).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
            // It goes on where it was: the ADD that nobody waits for any more is done, and DEL undoes it.
            signal(node.agent_pid(), libc::SIGCONT);
            call("DEL", &container, &config).ok();
            thread::sleep(Duration::from_millis(200));
            call("DEL", &container, &config).ok();
            node.assert_clean();
        });
        scope.spawn(|| {
            let mut child =
                plugin(&variables("ADD", "silent", "/proc/self/ns/net")).stdout(Stdio::piped()).spawn().unwrap();
            let input = child.stdin.take();
            let output = child.wait_with_output().unwrap();
            assert!((25..40).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
            assert!(!output.status.success());
            assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["code"], 11);
            drop(input);
        });
        scope.spawn(|| {
            let mut child =
                plugin(&variables("STATUS", "silent", "/proc/self/ns/net")).stdout(Stdio::piped()).spawn().unwrap();
            let input = child.stdin.take();
            let output = child.wait_with_output().unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["code"], 50, "STATUS: not available");
            drop(input);
        });
    });
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: no memory is involved; the process is the test's own child.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
