//! `malla policy prove`, `simulate` and `matrix` over files, as a pipeline runs them.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn malla(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_malla"))
        .arg("policy")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("malla starts");
    // Who needs none may have ended.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("wait")
}

/// Exit status and what was printed.
fn said(arguments: &[&str], input: &str) -> (i32, String) {
    let output = malla(arguments, input);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("a status"), text)
}

fn examples() -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policy-questions");
    folder.to_str().expect("text").to_owned()
}

const HOLE: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: debug, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {debug: 'yes'}}}]
";

#[test]
fn the_examples_hold_and_a_hole_has_a_witness_and_its_rule() {
    let folder = examples();
    let (code, text) = said(&["prove", "-f", &folder], "");
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("3 of 3 hold\n"), "{text}");
    let report = tempfile::NamedTempFile::new().unwrap();
    let path = report.path().to_str().unwrap();
    let (code, text) = said(&["prove", "-f", &folder, "-f", "-", "--junit", path], HOLE);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("only-the-backend-reaches-the-database: NO"), "{text}");
    assert!(text.contains("from a Pod with debug=yes in namespace shop"), "{text}");
    assert!(text.contains("ingress: allowed: NetworkPolicy shop/debug spec.ingress[0]"), "{text}");
    assert!(text.ends_with("2 of 3 hold\n"), "{text}");
    let xml = std::fs::read_to_string(report.path()).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\""), "{xml}");
    assert_eq!(xml.matches("<testcase").count(), 3);
    assert!(xml.contains("<failure message=\"refuted\">"), "{xml}");
    let output = malla(&["prove", "-f", &folder, "-f", "-", "-o", "json"], HOLE);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let no = all.as_array().unwrap().iter().find(|one| one["answer"]["holds"] == false).unwrap();
    assert_eq!(no["answer"]["witness"]["from"]["labels"]["debug"], "yes");
    assert_eq!(no["answer"]["witness"]["port"], 5432);
}

#[test]
fn what_is_no_question_is_an_error_with_its_line() {
    let question = |spec: &str| {
        format!("{HOLE}---\napiVersion: malla.dev/v1alpha1\nkind: PolicyQuestion\nmetadata: {{name: q}}\nspec:\n{spec}")
    };
    for (spec, expected) in [
        ("  claim: Sometimes\n", "-:9: understand the question"),
        ("  claim: Never\n  form: []\n", "form"),
        ("  claim: Only\n", "-:12: spec.from"),
        ("  claim: Never\n  ports:\n  - {port: 9, endPort: 5}\n", "-:15: spec.ports[0].endPort"),
    ] {
        let (code, text) = said(&["prove", "-f", "-"], &question(spec));
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let (code, text) = said(&["prove", "-f", "-"], HOLE);
    assert_eq!((code, text.contains("there is no PolicyQuestion")), (2, true), "{text}");
    let wrong = HOLE.replace("ingress:", "ingres:");
    let (code, text) = said(&["prove", "-f", &examples(), "-f", "-"], &wrong);
    assert_eq!(
        (code, text.contains("there are mistakes")),
        (2, true),
        "a policy that means nothing proves nothing: {text}"
    );
}

#[test]
fn the_schema_is_that_of_the_examples() {
    let output = malla(&["prove", "--schema"], "");
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success());
    for field in ["claim", "from", "to", "ports", "assume"] {
        assert!(!schema["$defs"]["Spec"]["properties"][field].is_null(), "{field} in {schema}");
    }
    assert_eq!(schema["$defs"]["Spec"]["required"], serde_json::json!(["claim"]));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-question.schema.json");
    let committed = std::fs::read_to_string(page).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), committed, "write it anew with `malla policy prove --schema`");
}

const SHOP: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  serviceName: db
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: i, ports: [{name: pg, containerPort: 5432}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: scan, namespace: tools, labels: {app: scan}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: pg}]}]
";

fn shop() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(SHOP.as_bytes()).unwrap();
    file
}

#[test]
fn a_simulation_tells_what_opens_and_what_closes() {
    let shop = shop();
    let current = shop.path().to_str().unwrap();
    let same = SHOP.split("---\n").last().unwrap();
    let (code, text) = said(&["simulate", "-f", "-", "--current", current], same);
    assert_eq!((code, &*text), (0, "nothing would change for anybody who is there now\n"));
    let other = same.replace("{app: web}}}], ports: [{port: pg}]", "{app: api}}}]");
    let output = malla(&["simulate", "-f", "-", "--current", current, "-o", "json"], &other);
    assert_eq!(output.status.code(), Some(1));
    let simulation: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes = simulation["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{simulation:#}");
    assert_eq!(changes[0]["from_pods"], serde_json::json!(["shop/deployment/web"]));
    assert_eq!((&changes[0]["ports"], &changes[0]["then"]), (&"tcp/5432".into(), &false.into()));
    assert_eq!(changes[0]["because_then"], "ingress: default deny of NetworkPolicy shop/db");
    assert_eq!(simulation["written"], serde_json::json!(["NetworkPolicy shop/db"]));
    let (code, text) = said(&["simulate", "--delete", "netpol/db", "-n", "shop", "--current", current], "");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("removed: NetworkPolicy shop/db") && text.contains("tools: app=scan"), "{text}");
    assert!(text.contains("no longer ingress: default deny"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 150), "a table that fits: {text}");
    let (code, text) = said(&["simulate", "--delete", "netpol/nothing", "--current", current], "");
    assert_eq!((code, text.contains("there is no NetworkPolicy default/nothing")), (2, true), "{text}");
    // Only added to: nothing of what there is goes.
    let (code, text) = said(&["simulate", "-f", "-", "--current", current], HOLE);
    assert_eq!(code, 0, "nobody has debug=yes: {text}");
}

#[test]
fn the_matrix_of_files() {
    let shop = shop();
    let path = shop.path().to_str().unwrap();
    let output = malla(&["matrix", "-f", path, "-n", "shop", "-o", "json"], "");
    let cells: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cell = |from: &str, to: &str| {
        let found = cells.as_array().unwrap().iter().find(|one| one["from"] == from && one["to"] == to);
        found.unwrap_or_else(|| panic!("{from} -> {to} in {cells:#}")).clone()
    };
    assert_eq!(cell("shop: app=web", "shop: app=db")["allowed"], "tcp/5432");
    assert_eq!(cell("tools: app=scan", "shop: app=db")["allowed"], "nothing");
    let because = &cell("tools: app=scan", "shop: app=db")["denied"][0]["because"];
    assert_eq!(because, "ingress: default deny of NetworkPolicy shop/db");
    assert_eq!(cell("shop: app=db", "tools: app=scan")["allowed"], "everything");
    assert_eq!(cell("world IPv4", "shop: app=db")["allowed"], "nothing");
    let (code, text) = said(&["matrix", "-f", path, "-l", "app=scan", "--denied"], "");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("tools: app=scan") && !text.contains("shop: app=web"), "{text}");
    let (_, csv) = said(&["matrix", "-f", path, "-o", "csv"], "");
    assert!(csv.contains("\"shop: app=web\",\"shop: app=db\",\"IPv4\",\"tcp/5432\""), "{csv}");
}

const NODES: &str = "\
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: control-plane, labels: {node-role.kubernetes.io/control-plane: ''}}
  status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}
- {apiVersion: v1, kind: Node, metadata: {name: db-1, labels: {role: database}}}
- {apiVersion: v1, kind: Node, metadata: {name: db-2, labels: {role: database}}}
---
apiVersion: v1
kind: Pod
metadata: {name: idle, namespace: tools, labels: {app: idle}}
spec: {containers: [{name: c, image: i}]}
";

const OF_NODES: &str = "\
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: database-nodes, annotations: {}}
spec:
  nodeSelector: {matchLabels: {role: database}}
  ingress:
  - fromEntities: [remote-node]
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: '5432', protocol: TCP}]}]
";

fn file(parts: &[&str]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(parts.concat().as_bytes()).unwrap();
    file
}

fn json(arguments: &[&str], input: &str) -> Value {
    let output = malla(&[arguments, &["-o", "json"]].concat(), input);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

const FAILSAFE: &str = "tcp/22 tcp/179 tcp/2379-2380 tcp/6443 tcp/10250 udp/68 udp/546 udp/8472";

#[test]
fn nodes_of_files_are_rows_and_columns() {
    let all = file(&[SHOP, NODES, OF_NODES]);
    let path = all.path().to_str().unwrap();
    let cells = json(&["matrix", "-f", path], "");
    let cells = cells.as_array().unwrap();
    let cell = |from: &str, to: &str| {
        let found = cells.iter().find(|one| one["from"] == from && one["to"] == to);
        found.unwrap_or_else(|| panic!("{from} -> {to} in {cells:#?}"))["allowed"].as_str().unwrap().to_owned()
    };
    let databases = "node db-1 and 1 more (remote-node)";
    assert_eq!(cell("shop: app=web", databases), FAILSAFE.replace("tcp/6443", "tcp/5432 tcp/6443"));
    assert_eq!(cell("shop: app=web", "its own node db-1 and 1 more (host)"), cell("shop: app=web", databases));
    assert_eq!(cell("shop: app=db", databases), FAILSAFE);
    assert_eq!(cell("world IPv4", "node db-1 and 1 more"), FAILSAFE);
    assert_eq!(cell("node db-1 and 1 more", "world IPv4"), "everything");
    assert_eq!(cell("node control-plane (remote-node, kube-apiserver)", databases), "everything");
    assert_eq!(cell(databases, databases), "everything", "each is a remote node to the other");
    // A node that no policy is about is judged by nobody but Pods and the nodes that some are about.
    assert!(!cells.iter().any(|one| one["from"] == "node control-plane"), "{cells:#?}");
    let of_role = json(&["matrix", "-f", path, "-l", "role=database"], "");
    let has_database = |one: &Value| {
        [&one["from_nodes"], &one["to_nodes"]].iter().any(|all| **all == serde_json::json!(["db-1", "db-2"]))
    };
    let of_role = of_role.as_array().unwrap();
    assert!(!of_role.is_empty() && of_role.iter().all(has_database), "{of_role:#?}");
    let of_shop = json(&["matrix", "-f", path, "-n", "shop"], "");
    let has_pod =
        |one: &Value| [&one["from_pods"], &one["to_pods"]].iter().any(|all| all.to_string().contains("shop/"));
    assert!(of_shop.as_array().unwrap().iter().all(has_pod), "nodes are in no namespace: {of_shop:#}");
    // Pods that policies treat alike are found by the labels of each.
    for app in ["app=scan", "app=idle"] {
        let found = json(&["matrix", "-f", path, "-l", app], "");
        assert!(found.to_string().contains("tools/idle"), "{app}: {found:#}");
    }
    let (_, csv) = said(&["matrix", "-f", path, "-o", "csv"], "");
    assert!(
        csv.starts_with("from,to,families,allowed,denied,because,from_pods,to_pods,from_nodes,to_nodes\r\n"),
        "{csv}"
    );
    assert!(csv.contains(",\"db-1 db-2\"\r\n"), "{csv}");
}

#[test]
fn a_policy_about_nodes_is_simulated_but_for_failsafe_ports() {
    let current = file(&[SHOP, NODES]);
    let simulation = json(&["simulate", "-f", "-", "--current", current.path().to_str().unwrap()], OF_NODES);
    let changes = simulation["changes"].as_array().unwrap();
    let is_about_databases =
        |one: &Value| one["to_nodes"] == serde_json::json!(["db-1", "db-2"]) && one["then"] == false;
    assert!(!changes.is_empty() && changes.iter().all(is_about_databases), "{simulation:#}");
    assert!(
        changes.iter().all(|one| one["ports"].as_str().unwrap().starts_with("tcp/0-21 tcp/23-178 ")),
        "{changes:#?}"
    );
    let from = |name: &str| changes.iter().filter(|one| one["from"] == name).count();
    assert_eq!((from("tools: any labels"), from("world IPv4")), (2, 1), "from elsewhere and on the node: {changes:#?}");
    assert!(!changes.iter().any(|one| one["from"].as_str().unwrap().contains("node")), "other nodes may: {changes:#?}");
    assert_eq!(changes[0]["because_then"], "ingress: default deny of CiliumClusterwideNetworkPolicy database-nodes");
}

/// What audit mode is about, both ways: what would be closed, and what would be opened.
#[test]
fn policies_in_audit_mode_are_simulated_as_if_they_were_enforced() {
    let audited = OF_NODES.replace("annotations: {}", "annotations: {malla.dev/audit: 'true'}");
    let opening = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                   metadata: {name: scan, namespace: shop, annotations: {malla.dev/audit: 'true'}}\n\
                   spec:\n  podSelector: {matchLabels: {app: db}}\n  ingress:\n  - from: [{namespaceSelector: {}}]\n    ports: [{port: 9187}]\n";
    let current = file(&[SHOP, NODES, &audited, opening]);
    let path = current.path().to_str().unwrap();
    let simulation = json(&["simulate", "--audited", "--current", path], "");
    assert_eq!(
        simulation["written"],
        serde_json::json!(["CiliumClusterwideNetworkPolicy database-nodes", "NetworkPolicy shop/scan"])
    );
    let changes = simulation["changes"].as_array().unwrap();
    let opened: Vec<&Value> = changes.iter().filter(|one| one["then"] == true).collect();
    let closed =
        changes.iter().filter(|one| one["then"] == false && one["to_nodes"] == serde_json::json!(["db-1", "db-2"]));
    assert!(closed.count() > 0, "{changes:#?}");
    assert!(!opened.is_empty() && opened.iter().all(|one| one["ports"] == "tcp/9187"), "{opened:#?}");
    assert_eq!(opened[0]["because_now"], "ingress: default deny of NetworkPolicy shop/db");
    // What is in audit mode changes nothing, unless that is asked.
    let (code, text) = said(&["simulate", "-f", "-", "--current", path], opening);
    assert_eq!((code, &*text), (0, "nothing would change for anybody who is there now\n"));
    let (code, text) = said(&["simulate", "-f", "-", "--current", path, "--audited"], opening);
    assert_eq!(code, 1, "{text}");
}

/// Failsafe ports are open in files, too: nothing is proved that a node does not keep.
#[test]
fn failsafe_ports_refute_what_policies_about_nodes_claim() {
    let shut = OF_NODES
        .replace("fromEntities: [remote-node]", "fromEntities: [remote-node]\n    toPorts: [{ports: [{port: '80'}]}]");
    let claim = |port: u16| {
        format!(
            "{shut}---\napiVersion: malla.dev/v1alpha1\nkind: PolicyQuestion\nmetadata: {{name: closed}}\nspec:\n  \
             claim: Always\n  from: [{{entity: world}}]\n  to: [{{entity: remote-node}}]\n  ports: [{{port: {port}}}]\n"
        )
    };
    let (code, text) = said(&["prove", "-f", "-"], &claim(22));
    assert_eq!(code, 0, "{text}");
    let (code, text) = said(&["prove", "-f", "-"], &claim(8080));
    assert_eq!((code, text.contains("role=database")), (1, true), "{text}");
}

#[test]
fn help_of_each_has_examples_and_the_exit_status() {
    for command in ["explain", "simulate", "prove"] {
        let (code, text) = said(&[command, "--help"], "");
        assert_eq!(code, 0);
        let example = format!("malla policy {command} ");
        assert!(text.contains(&example) && text.contains("Exit status: 0"), "{text}");
    }
}
