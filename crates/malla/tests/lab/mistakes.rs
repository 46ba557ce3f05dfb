//! Everything that can be wrong before a lab is made is one line that says what to do, and makes nothing.

use std::{fs, net::TcpListener};

use crate::commands::{Lab, malla_as_nobody, text};

/// The one line that `up` says before it fails.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.lab("up", arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert_eq!(lab.traces(), Vec::<String>::new(), "after {arguments:?}");
    said
}

#[test]
fn each_mistake_is_told_in_one_line_and_makes_nothing() {
    let lab = Lab::reserve();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(refused(&lab, &["--api-port", &port]).contains(&format!("TCP port {port}")));
    assert!(refused(&lab, &["--nodes", "0"]).contains("1 to 100"));
    assert!(refused(&lab, &["--pod-subnet", "10.96.0.0/16"]).contains("overlap"));
    assert!(refused(&lab, &["--config", "/does/not/exist.yaml"]).contains("/does/not/exist.yaml"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kind.yaml");
    fs::write(&file, "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: boss\n").unwrap();
    assert!(refused(&lab, &["--config", file.to_str().unwrap()]).contains("kind.yaml:4: "));
    let mapping = format!(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n  extraPortMappings: [{{containerPort: 80, hostPort: {port}}}]\n"
    );
    fs::write(&file, mapping).unwrap();
    assert!(refused(&lab, &["--config", file.to_str().unwrap()]).contains("is taken"));
}

#[test]
fn a_namespace_of_somebody_else_is_not_taken_over() {
    let lab = Lab::reserve();
    let name = format!("{}-fabric", lab.name);
    assert!(std::process::Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    let output = lab.lab("up", &[]);
    assert!(!output.status.success());
    assert!(text(&output).contains(&format!("namespace {name} is there already")), "{}", text(&output));
    assert!(!lab.folder().exists());
}

#[test]
fn not_root_is_one_line() {
    for arguments in [&["lab", "up"][..], &["lab", "down"], &["lab", "status"], &["lab", "kubeconfig"]] {
        let output = malla_as_nobody(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output).trim_end().lines().count(), 1);
        assert!(text(&output).contains("needs root"), "{}", text(&output));
    }
}
