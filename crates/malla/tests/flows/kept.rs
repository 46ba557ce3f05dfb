//! What was seen is still known when those who were seen, and the agent that saw it, have gone.

use crate::cluster::{Cluster, From, wait_until};
use crate::relay::{agent, kill};
use crate::{PATIENCE, deeds, flows, observe};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Relative: each node has its own.
pub const EXPORT: (&str, &str) = ("MALLA_HUBBLE_EXPORT_FILE_PATH", "exported.json");

/// Pod `near` of worker-1 is refused by user-service's policy, and by Pod `server`, which has no such port.
fn calls(cluster: &Cluster, server: &str) {
    let [service, _] = cluster.cluster_ips("user-service");
    for url in [format!("http://{service}/"), format!("http://{server}:9999/")] {
        let answered = cluster.ask(From::Pod("near"), &["http", &url, "--count", "1", "--timeout", "700ms"]);
        assert!(answered.is_ok_and(|report| report.errors == 1), "{url} has answered");
    }
}

/// Of all that is told about an address: the drop, and the end of the call that the server refused.
fn story(told: &[Value]) -> Option<(&Value, &Value)> {
    let drop = told.iter().find(|flow| flow["ingress_denied_by"].is_array())?;
    let end = told.iter().find(|flow| flow["extensions"]["way"] == "REFUSED_BY_SERVER")?;
    Some((drop, end))
}

pub fn all(cluster: &Cluster) {
    let [address, _] = cluster.pod_addresses("near");
    let [server, _] = cluster.pod_addresses("server");
    let asked = ["--since", "1h", "--ip", &address];
    let mut before = Vec::new();
    wait_until("who it was, whom it called, who refused it", PATIENCE, || {
        calls(cluster, &server);
        before = flows(cluster, &asked);
        story(&before).is_some()
    });
    counted(cluster);
    exported(cluster);

    cluster.kubectl(&["delete", "pod", "near", "--wait"]);
    let killed = agent(cluster, "worker-1");
    kill("-KILL", &killed);
    wait_until("the next agent, which has seen nothing of it", PATIENCE, || {
        let status = cluster.status();
        let pid = |node: &Value| node["agent"]["pid"].as_i64().map(|pid| pid.to_string());
        let is_next = |node: &Value| node["name"] == "worker-1" && pid(node).is_some_and(|pid| pid != killed);
        status["nodes"].as_array().unwrap().iter().any(is_next)
            && flows(cluster, &["--node-name", "worker-1", "--ip", &address]).is_empty()
    });
    let mut after = Vec::new();
    wait_until("what the last one knew", PATIENCE, || {
        after = flows(cluster, &asked);
        story(&after).is_some()
    });
    let (drop, end) = story(&after).unwrap();
    // The end is told by the server's refusal, which goes the other way.
    for (flow, caller, ip) in [(drop, &drop["source"], "source"), (end, &end["destination"], "destination")] {
        assert_eq!((&caller["namespace"], &caller["pod_name"]), (&json!("default"), &json!("near")), "{flow:#}");
        assert!(caller["labels"].as_array().unwrap().contains(&json!("k8s:app=near")), "{flow:#}");
        assert_eq!(flow["IP"][ip], json!(address));
    }
    assert_eq!((&drop["ingress_denied_by"][0]["name"], &drop["verdict"]), (&json!("only-monolith"), &json!("DROPPED")));
    assert!(drop["destination"]["pod_name"].as_str().unwrap().starts_with("user-service-"), "{drop:#}");
    assert_eq!((&end["source"]["pod_name"], &end["l4"]["TCP"]["source_port"]), (&json!("server"), &json!(9999)));
    // Nothing is lost by the kill, told twice, or told to who asked for something else.
    let ids = |told: &[Value]| told.iter().map(|flow| flow["uuid"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&after).len(), after.len());
    assert!(ids(&before).is_subset(&ids(&after)));
    let said = observe(cluster, &asked);
    assert!(said.contains("default/near:") && said.contains("Policy denied DROPPED"), "{said}");
    for nothing in
        [&["--since", "1h", "--ip", "10.244.9.9"][..], &["--since", "1h", "--until", "50m"], &["--ip", &address]]
    {
        assert_eq!(flows(cluster, nothing), Vec::<Value>::new(), "{nothing:?}");
    }
    the_last_of_them(cluster, &address, &after);
    old_and_new(cluster);
    deeds::all(cluster);
}

/// Before a time, newest first inside, and told in the order of time.
fn the_last_of_them(cluster: &Cluster, ip: &str, told: &[Value]) {
    let on_worker_1: Vec<&Value> = told.iter().filter(|flow| flow["node_name"] == "worker-1").collect();
    // Events of one packet are of one time: the last that is before another.
    let is_before = |two: &[&Value]| two[0]["time"] != two[1]["time"];
    let last = on_worker_1.windows(2).rposition(is_before).filter(|last| *last > 0);
    let last = last.unwrap_or_else(|| panic!("too few: {told:#?}"));
    let until = on_worker_1[last]["time"].as_str().unwrap();
    let arguments = [
        "observe",
        "--lab",
        &cluster.name,
        "--node",
        "worker-1",
        "--last",
        "2",
        "--until",
        until,
        "--ip",
        ip,
        "-o",
        "json",
    ];
    let output = Command::new(crate::cluster::malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap()["flow"]["uuid"].clone();
    let found: Vec<Value> = lines.lines().map(read).filter(|uuid| !uuid.is_null()).collect();
    let wanted: Vec<Value> = on_worker_1[last - 1..=last].iter().map(|flow| flow["uuid"].clone()).collect();
    assert_eq!(found, wanted);
}

/// One answer out of the log and the ring.
fn old_and_new(cluster: &Cluster) {
    let [service, _] = cluster.cluster_ips("user-service");
    let asked = ["--since", "1h", "--to-label", "app=user-service", "--node-name", "worker-1"];
    let before = flows(cluster, &asked).len();
    let mut told = Vec::new();
    wait_until("a new flow beside the old ones", PATIENCE, || {
        let url = format!("http://{service}/");
        let _ = cluster.ask(From::Pod("monolith"), &["http", &url, "--count", "1", "--timeout", "700ms"]);
        told = flows(cluster, &asked);
        told.len() > before && told.iter().any(|flow| flow["source"]["pod_name"] == "monolith")
    });
    let uuids: BTreeSet<String> = told.iter().map(|flow| flow["uuid"].to_string()).collect();
    assert_eq!(uuids.len(), told.len(), "told twice");
    let ring = flows(cluster, &asked[2..]).len();
    assert!(ring < told.len(), "{ring} of {} are in the ring", told.len());
}

/// As Prometheus would ask.
fn counted(cluster: &Cluster) {
    let scrape = || {
        let namespace = format!("{}-worker-1", cluster.name);
        let curl = ["netns", "exec", &namespace, "curl", "--silent", "--fail", "http://172.18.0.3:9965/metrics"];
        let output = Command::new("ip").args(curl).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut text = String::new();
    wait_until("metrics of what was seen", PATIENCE, || {
        text = scrape();
        text.contains("way=\"refused_by_server\"")
    });
    assert!(text.ends_with("# EOF\n"), "{text}");
    for series in [
        r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"}"#,
        r#"hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED"}"#,
        r#"hubble_flows_processed_total{protocol="TCP",type="PolicyVerdict",subtype="",verdict="DROPPED"}"#,
        r#"hubble_policy_verdicts_total{direction="ingress",match="none",action="dropped"}"#,
        r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"}"#,
        r#"hubble_tcp_flags_total{flag="SYN",family="IPv4"}"#,
        r#"hubble_port_distribution_total{protocol="TCP",port="9999"}"#,
        r#"malla_bpf_map_pressure{map_name="backends"}"#,
        r#"malla_api_watch_connected{kind="EndpointSlice"}"#,
        r#"malla_api_watch_lag_seconds_bucket{le="+Inf",kind="Pod"}"#,
        r#"malla_update_latency_seconds_count"#,
        r#"malla_drop_count_total{reason="POLICY_DENIED"}"#,
        r#"malla_forward_count_total{point="to-endpoint"}"#,
        r#"malla_flows_ended_total{way="refused_by_server",protocol="TCP"}"#,
        "malla_flow_log_flows_total",
        "malla_flow_log_bytes",
        "malla_flow_export_lines_total",
    ] {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{series}: {text}");
    }
    assert!(!text.contains("near"), "nobody has asked for the names of Pods");
}

fn exported(cluster: &Cluster) {
    let folder = cluster.folder().join("nodes/worker-1");
    let mode = |name: &str| std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("flows"), mode(EXPORT.1)), (0o700, 0o600));
    let text = std::fs::read_to_string(folder.join(EXPORT.1)).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(line["node_name"] == "worker-1" && line["time"].is_string(), "{line}");
        assert!(line["flow"].is_object() || line["lost_events"].is_object(), "{line}");
        assert_eq!(line["flow"]["extensions"], Value::Null, "Hubble's readers can't take it");
    }
    let is_drop = |line: &Value| {
        line["flow"]["drop_reason_desc"] == "POLICY_DENIED" && line["flow"]["source"]["pod_name"] == "near"
    };
    assert!(lines.iter().any(is_drop), "{text}");
}
