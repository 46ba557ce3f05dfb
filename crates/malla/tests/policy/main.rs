//! `malla policy check` as a pipeline runs it: files in, lines and an exit status out, no cluster.

mod questions;

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn malla(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_malla"))
        .args(["policy", "check"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("malla starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("write");
    child.wait_with_output().expect("wait")
}

/// Exit status and what was printed, of some text on standard input.
fn check(input: &str) -> (i32, String) {
    let output = malla(&["-f", "-"], input);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("a status"), String::from_utf8(output.stdout).expect("text"))
}

/// `file:line: severity: object: field` of each finding, the text left out.
fn findings(input: &str) -> Vec<String> {
    let output = malla(&["-f", "-", "-o", "json"], input);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |one: &Value| {
        format!("{} {} {}", one["line"], one["severity"].as_str().unwrap(), one["field"].as_str().unwrap())
    };
    report["findings"].as_array().unwrap().iter().map(text).collect()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policies")
}

const HEAD: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  endpointSelector: {}\n";

#[test]
fn the_examples_are_good_and_what_is_not_enforced_is_told() {
    let folder = examples();
    let output = malla(&["-f", folder.to_str().unwrap()], "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("7 policies understood, 0 mistakes, 3 warnings\n"), "{text}");
    for (line, field) in [
        (19, "spec.ingress[0].toPorts[0].rules"),
        (25, "spec.ingress[0].authentication.mode"),
        (27, "spec.egress[0].toFQDNs"),
    ] {
        let expected = format!("layer-7.yaml:{line}: warning: CiliumNetworkPolicy shop/layer-7: {field}: ");
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[test]
fn the_policy_of_the_seeds_is_understood_as_it_is_written() {
    let file = examples().join("secure-access-to-mainframe.yaml");
    let output = malla(&["-f", file.to_str().unwrap(), "-o", "json"], "");
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    let policy = &report["policies"][0];
    assert_eq!(
        policy["subject"],
        "any:app=banking-middleware,any:env=production,k8s:io.kubernetes.pod.namespace=default"
    );
    assert_eq!(policy["default_deny"], serde_json::json!(["egress"]));
    let rule = &policy["rules"][0];
    assert_eq!(
        (rule["action"].as_str(), rule["peers"].as_str(), rule["ports"].as_str()),
        (Some("allow"), Some("192.168.100.50/32"), Some("tcp/443"))
    );
}

#[test]
fn mistakes_have_a_line_and_the_exit_status_is_1() {
    let (code, text) =
        check(&format!("{HEAD}  ingress:\n  - fromEntities:\n    - world\n    - wrold\n  - fromCIDR: [10.0.0.0/33]\n"));
    assert_eq!(code, 1);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("-:9: mistake: CiliumNetworkPolicy shop/p: spec.ingress[0].fromEntities[1]: "),
        "{text}"
    );
    assert!(lines[1].starts_with("-:10: mistake: CiliumNetworkPolicy shop/p: spec.ingress[1].fromCIDR[0]: "), "{text}");
    assert_eq!(lines[2], "0 policies understood, 2 mistakes, 0 warnings");
}

#[test]
fn what_the_api_would_refuse_or_drop_is_a_mistake() {
    for (text, expected) in [
        // A field that is spelled wrong makes another rule of it: here everybody would be let in.
        (format!("{HEAD}  ingress:\n  - fromEndpoint: [{{}}]\n    toPorts: [{{ports: [{{port: '80'}}]}}]\n"), "7 mistake spec.ingress[0].fromEndpoint"),
        (format!("{HEAD}  ingress:\n  - toPorts:\n    - ports:\n      - port: 80\n"), "9 mistake spec.ingress[0].toPorts[0].ports[0].port"),
        ("apiVersion: cilium.io/v1\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec: {endpointSelector: {}, ingress: [{}]}\n".into(), "1 mistake apiVersion"),
        ("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {}\nspec: {endpointSelector: {}, ingress: [{}]}\n".into(), "3 mistake metadata.name"),
        ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n  ingres: []\n".into(), "6 mistake spec.ingres"),
        ("kind: A\n---\nb: 1\nb: 2\n".into(), "4 mistake "),
    ] {
        let found = findings(&text);
        assert!(found.iter().any(|one| one.starts_with(expected)), "{expected} in {found:?}\n{text}");
        assert_eq!(check(&text).0, 1);
    }
}

#[test]
fn every_dialect_names_its_field() {
    for (text, expected) in [
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/33\n",
            "9 mistake spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec:\n  tier: Admin\n  priority: 1\n  subject: {namespaces: {}}\n  egress:\n  - action: Deny\n    to:\n    - networks:\n      - 10.0.0.0\n",
            "12 mistake spec.egress[0].to[0].networks[0]",
        ),
        (
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspecs:\n- endpointSelector: {}\n  ingress: [{}]\n- nodeSelector: {}\n",
            "7 mistake specs[1]",
        ),
    ] {
        assert_eq!(findings(text), [expected], "{text}");
    }
}

#[test]
fn rules_that_do_nothing_are_warned_of() {
    let rule = |section: &str| findings(&format!("{HEAD}{section}"));
    assert_eq!(rule("  ingress:\n  - fromEndpoints: []\n"), ["7 warning spec.ingress[0]"]);
    assert_eq!(rule("  ingress:\n  - fromEntities: [world]\n  - {}\n"), ["8 warning spec.ingress[1]"]);
    assert_eq!(rule("  ingress: [{}]\n"), Vec::<String>::new(), "that is how all is denied");
    assert_eq!(
        rule(
            "  ingress:\n  - fromEntities: [world, host]\n  - fromEntities: [host]\n    toPorts: [{ports: [{port: '80'}]}]\n"
        ),
        ["8 warning spec.ingress[1]"],
        "the first says more"
    );
    assert_eq!(
        rule(
            "  ingressDeny:\n  - fromEntities: [world]\n  ingress:\n  - fromEntities: [world]\n    toPorts: [{ports: [{port: '80'}]}]\n"
        ),
        ["9 warning spec.ingress[0]"],
        "it is denied whole"
    );
    assert_eq!(
        rule("  egress:\n  - toServices: [{k8sService: {serviceName: gone}}]\n  - toCIDRSet: [{cidrGroupRef: gone}]\n"),
        ["7 warning spec.egress[0].toServices[0]", "8 warning spec.egress[1].toCIDRSet[0].cidrGroupRef"],
        "among these files"
    );
    assert_eq!(
        rule(
            "  ingress:\n  - fromEndpoints:\n    - matchLabels: {'k8s:app': a}\n      matchExpressions: [{key: 'k8s:app', operator: NotIn, values: [a]}]\n"
        ),
        ["7 warning spec.ingress[0]"],
        "both can't be so"
    );
    assert_eq!(
        findings("apiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"),
        ["1 warning apiVersion"],
        "not read here"
    );
    let twice = format!("{HEAD}  ingress: [{{}}]\n---\n{HEAD}  ingress: [{{}}]\n");
    assert_eq!(findings(&twice), ["10 warning metadata.name"]);
    assert_eq!(check(&twice).0, 0, "a warning is no mistake");
}

#[test]
fn what_cannot_be_read_is_one_line() {
    let output = malla(&["-f", "/does/not/exist.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.trim_end().lines().count() == 1 && said.contains("/does/not/exist.yaml"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        malla(&["-f", folder.path().to_str().unwrap()], "").status.code(),
        Some(1),
        "no file to check is no success"
    );
}

#[test]
fn help_has_examples() {
    let output = malla(&["--help"], "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("malla policy check -f policies.yaml"), "{text}");
}
