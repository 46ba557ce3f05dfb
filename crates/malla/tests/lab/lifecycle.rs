//! Up, again up, beside each other, down.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    commands::{Lab, malla, malla_path, text},
    machine::snapshot,
};

#[test]
fn three_nodes_are_ready_in_ten_seconds_and_gone_without_a_trace() {
    let before = snapshot();
    let lab = Lab::reserve();
    let started = Instant::now();
    let said = lab.run_up(&["--nodes", "3"]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}\n{said}");
    assert!(said.contains("kubectl get nodes"), "it says what to do next: {said}");
    assert_eq!(snapshot(), before, "the machine's own network is as it was");

    let status = lab.status();
    assert_eq!(status["api"]["answers"], true, "{status:#}");
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status:#}");
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["ready"], true, "{node:#}");
        assert!(!node["agentStatus"].is_null(), "the agent answers: {node:#}");
    }

    let down = lab.lab("down", &[]);
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(lab.traces(), Vec::<String>::new());
    assert_eq!(snapshot(), before);
    let again = lab.lab("down", &[]);
    assert!(again.status.success() && text(&again).contains("There is no lab"), "{}", text(&again));
}

#[test]
fn a_second_up_picks_up_what_is_there_and_refuses_to_make_it_another() {
    let lab = Lab::up(&["--nodes", "1"]);
    let before = lab.status();
    lab.run_up(&[]);
    lab.run_up(&["--nodes", "1"]);
    let after = lab.status();
    assert_eq!(before["api"]["process"]["pid"], after["api"]["process"]["pid"]);
    assert_eq!(before["supervisor"]["pid"], after["supervisor"]["pid"]);
    let other = lab.lab("up", &["--nodes", "2"]);
    assert!(!other.status.success());
    assert!(text(&other).contains("other settings"), "{}", text(&other));
}

#[test]
fn down_ends_what_was_started_by_node_shell_and_tells_of_what_was_not() {
    let lab = Lab::up(&["--nodes", "1"]);
    let mut shells = Vec::new();
    for member in ["control-plane", "fabric", "outside"] {
        let mut command = Command::new(malla_path());
        command.args(["lab", "node-shell", "--name", &lab.name, member, "--", "sleep", "1000"]);
        shells.push(command.spawn().unwrap());
    }
    let outside = format!("{}-outside", lab.name);
    let mut other = Command::new("ip").args(["netns", "exec", &outside, "sleep", "1000"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500)); // until all of them are where they want to be
    let down = lab.lab("down", &[]);
    let others_end = other.try_wait().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    for mut shell in shells {
        let ended = shell.try_wait().unwrap();
        let _ = shell.kill();
        shell.wait().unwrap();
        assert!(ended.is_some(), "a shell of the lab was not ended");
    }
    assert!(others_end.is_none(), "somebody else's process was ended");
    assert!(!down.status.success() && text(&down).contains("still lives in a namespace"), "{}", text(&down));
    assert_eq!(lab.traces(), Vec::<String>::new());
}

#[test]
fn two_labs_live_beside_each_other() {
    let one = Lab::up(&["--nodes", "1"]);
    let two = format!("{}-b", one.name);
    let up = malla(&["lab", "up", "--name", &two, "--nodes", "1", "--wait"]);
    assert!(up.status.success(), "{}", text(&up));
    assert_eq!(one.status()["problems"].as_array().unwrap().len(), 0);
    let down = malla(&["lab", "down", "--name", &two]);
    assert!(down.status.success(), "{}", text(&down));
    let status = one.status();
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "the first lab noticed nothing: {status:#}");
}

#[test]
fn node_shell_is_inside_the_node_and_hands_on_the_exit_status() {
    let lab = Lab::up(&["--nodes", "2"]);
    let inside =
        lab.lab("node-shell", &["worker-1", "--", "sh", "-c", "ip -br addr show eth0; cat /proc/self/cgroup; exit 7"]);
    assert_eq!(inside.status.code(), Some(7), "{}", text(&inside));
    assert!(text(&inside).contains("172.18.0.3/16"), "{}", text(&inside));
    assert!(text(&inside).contains(&format!("malla-{}/worker-1", lab.name)), "{}", text(&inside));
    let outside = lab.lab("node-shell", &["outside", "--", "ip", "-br", "addr", "show", "eth0"]);
    assert!(text(&outside).contains("203.0.113.2/24"), "{}", text(&outside));
    let within =
        lab.lab("node-shell", &["outside", "--", malla_path().to_str().unwrap(), "lab", "down", "--name", &lab.name]);
    assert!(!within.status.success() && text(&within).contains("leave it"), "{}", text(&within));
    let nowhere = lab.lab("node-shell", &["worker-9", "--", "true"]);
    assert!(!nowhere.status.success() && text(&nowhere).contains("worker-1"), "{}", text(&nowhere));
}
