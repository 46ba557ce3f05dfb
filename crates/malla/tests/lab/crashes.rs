//! A lab whose processes are killed is picked up by `up`, or cleaned by `down`.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use crate::commands::{Lab, malla_path, text};

fn kill(pid: &Value) {
    let pid = pid.as_i64().expect("a running process").to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

/// Waits until `holds` of the status.
fn until(lab: &Lab, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let status = lab.status();
        if holds(&status) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} never came: {:#}\n{}", lab.status(), lab.logs());
}

#[test]
fn a_killed_supervisor_leaves_everything_running_and_up_adopts_it() {
    let lab = Lab::up(&["--nodes", "2"]);
    let before = lab.status();
    kill(&before["supervisor"]["pid"]);
    let between = until(&lab, "the end of the supervisor", |status| status["supervisor"]["running"] == false);
    assert_eq!(between["api"]["process"]["running"], true);
    assert!(between["problems"][0].as_str().unwrap().contains("malla lab up"), "{between:#}");
    lab.run_up(&[]);
    let after = until(&lab, "a lab without problems", |status| status["problems"].as_array().unwrap().is_empty());
    assert_eq!(after["api"]["process"]["pid"], before["api"]["process"]["pid"]);
    for node in [0, 1] {
        assert_eq!(after["nodes"][node]["agent"]["pid"], before["nodes"][node]["agent"]["pid"]);
    }
}

#[test]
fn a_killed_agent_and_a_killed_api_come_back() {
    let lab = Lab::up(&["--nodes", "1"]);
    let before = lab.status();
    kill(&before["nodes"][0]["agent"]["pid"]);
    kill(&before["api"]["process"]["pid"]);
    let after = until(&lab, "agent and API", |status| {
        status["api"]["answers"] == true
            && status["nodes"][0]["agent"]["running"] == true
            && !status["nodes"][0]["agentStatus"].is_null()
    });
    assert_ne!(after["nodes"][0]["agent"]["pid"], before["nodes"][0]["agent"]["pid"]);
    assert_eq!(after["nodes"][0]["agent"]["lastEnd"], "signal 9");
}

#[test]
fn down_cleans_what_is_left_after_the_worst() {
    let lab = Lab::up(&["--nodes", "2"]);
    let status = lab.status();
    kill(&status["supervisor"]["pid"]);
    kill(&status["api"]["process"]["pid"]);
    // Without a word about what there was: neither state nor process files.
    fs::remove_file(lab.folder().join("state.json")).unwrap();
    fs::remove_dir_all(lab.folder().join("processes")).unwrap();
    let down = lab.lab("down", &[]);
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(lab.traces(), Vec::<String>::new());
}

#[test]
fn an_up_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let lab = Lab::reserve();
    for milliseconds in [5, 20, 60, 120, 250, 500] {
        let mut up = Command::new(malla_path());
        let mut up = up.args(["lab", "up", "--name", &lab.name, "--nodes", "2", "--wait"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        up.kill().unwrap();
        up.wait().unwrap();
        if milliseconds % 20 != 0 {
            let down = lab.lab("down", &[]); // from here too
            assert!(down.status.success(), "killed after {milliseconds} ms: {}", text(&down));
            assert_eq!(lab.traces(), Vec::<String>::new(), "killed after {milliseconds} ms");
        }
    }
    lab.run_up(&["--nodes", "2"]);
    assert_eq!(lab.status()["problems"].as_array().unwrap().len(), 0, "{:#}", lab.status());
}
