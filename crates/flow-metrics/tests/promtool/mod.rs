//! Debian's promtool, and what it is shown of `deploy/`. Needs what `make setup` puts under `target/debian` (prometheus).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn promtool() -> Command {
    // target/debug/deps/this-test
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(3).unwrap().join("debian/usr/bin/promtool");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    Command::new(path)
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

pub fn has_agreed(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The questions that a dashboard's panels ask, as Grafana would send them.
pub fn questions(dashboard: &str) -> Vec<String> {
    let text = std::fs::read_to_string(deploy().join("grafana").join(dashboard)).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let questions = targets.map(|target| target["expr"].as_str().unwrap());
    questions.map(|text| text.replace("$__rate_interval", "5m").replace("$instance", ".*")).collect()
}

/// The rules `NAME.rules.yaml` are rules, and say what `NAME.test.yaml` expects.
pub fn rules_agree(name: &str) {
    let folder = deploy().join("prometheus");
    for (what, file) in [("check", format!("{name}.rules.yaml")), ("test", format!("{name}.test.yaml"))] {
        has_agreed(&promtool().args([what, "rules"]).arg(folder.join(file)).output().unwrap());
    }
}

/// Prometheus understands them.
pub fn are_questions(questions: &[String]) {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, question) in questions.iter().enumerate() {
        rules +=
            &format!("      - record: panel:{number}\n        expr: {}\n", serde_json::to_string(question).unwrap());
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    has_agreed(&promtool().args(["check", "rules"]).arg(file.path()).output().unwrap());
}

/// Names of metrics that a dashboard and the rules of the same name ask for.
pub fn names_asked(name: &str) -> Vec<String> {
    let alerts = std::fs::read_to_string(deploy().join(format!("prometheus/{name}.rules.yaml"))).unwrap();
    let asked = questions(&format!("{name}.json")).join("\n") + &alerts;
    let names = asked.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    names.filter(|name| name.starts_with("hubble_") || name.starts_with("malla_")).map(str::to_owned).collect()
}
