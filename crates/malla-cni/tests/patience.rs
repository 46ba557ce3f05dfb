//! The plugin never hangs: neither on an agent that is stopped nor on a runtime that never closes standard input.
//! Takes half a minute, nearly all of it waiting. Needs root.

mod support;

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Container, Node, call, plugin, start, variables};

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
            // Nobody waits for that ADD any more: it is not done, and can't undo a DEL that comes now.
            signal(node.agent_pid(), libc::SIGCONT);
            thread::sleep(Duration::from_millis(300));
            node.assert_clean();
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

/// A runtime kills its plugin and calls again. What the dead plugin asked must not be done after that.
#[test]
fn a_dead_plugins_request_is_not_done_late() {
    let node = Node::new();
    let config = node.config("1.1.0");
    let container = Container::new("dead");
    call("ADD", &container, &config).ok();
    signal(node.agent_pid(), libc::SIGSTOP);
    for verb in ["DEL", "CHECK", "DEL"] {
        let mut child = start(&variables(verb, &container.id, &container.path()), &config.to_string());
        // Its request lies in the socket by then.
        thread::sleep(Duration::from_millis(200));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    signal(node.agent_pid(), libc::SIGCONT);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(node.endpoint_files().len(), 1, "a DEL whose caller is dead came late");
    call("DEL", &container, &config).ok();
    node.assert_clean();
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: no memory is involved; the process is the test's own child.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
