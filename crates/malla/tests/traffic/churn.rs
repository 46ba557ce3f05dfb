//! Many Pods come and go on one node while the CNI plugin is killed at random: nothing of them stays.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::cluster::{Cluster, From, malla_path, text, wait_until};

const PODS: usize = 200;

#[test]
#[ignore = "some minutes of 200 Pods, twice"]
fn two_hundred_pods_twice_with_the_plugin_killed() {
    come_and_go(PODS);
}

#[test]
fn twenty_pods_twice_with_the_plugin_killed() {
    come_and_go(20);
}

fn come_and_go(count: usize) {
    let cluster = Cluster::up(&["--nodes", "2"]);
    cluster.apply(&deployment(0));
    wait_until("an agent that answers", Duration::from_secs(20), || endpoints(&cluster).is_some());
    let before = traces(&cluster);
    for round in 1..=2 {
        let killer = Killer::start();
        cluster.apply(&deployment(count));
        cluster.kubectl(&["rollout", "status", "deployment/many", "--timeout=240s"]);
        let addresses = cluster.kubectl(&["get", "pods", "-l", "app=many", "-o", "jsonpath={.items[*].status.podIP}"]);
        let different: BTreeSet<&str> = addresses.split_whitespace().collect();
        assert_eq!(different.len(), count, "round {round}: an address was given twice, or to nobody");
        cluster.apply(&deployment(0));
        wait_until("the end of all Pods", Duration::from_secs(240), || {
            cluster.kubectl(&["get", "pods", "-l", "app=many", "-o", "name"]).trim().is_empty()
        });
        let killed = killer.stop();
        assert!(killed > 0, "round {round}: the plugin was never caught alive, so nothing was tried");
        println!("round {round}: the plugin was killed {killed} times");
    }
    let mut after = traces(&cluster);
    for _ in 0..100 {
        if after == before {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
        after = traces(&cluster);
    }
    panic!("left behind: {:?}\nbefore: {before:?}", after.difference(&before).collect::<Vec<_>>());
}

fn deployment(replicas: usize) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: many}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: many}}}}
  template:
    metadata: {{labels: {{app: many}}}}
    spec:
      nodeName: worker-1
      terminationGracePeriodSeconds: 5
      containers: [{{name: client, image: malla.dev/client}}]
"
    )
}

/// Interfaces and routes of the node, pins, named namespaces, and the agent's own list of Pods.
fn traces(cluster: &Cluster) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for arguments in [&["-j", "link"][..], &["-j", "route"], &["-6", "-j", "route"], &["-j", "neigh"]] {
        let output = cluster.command(From::Node("worker-1"), "/usr/bin/ip".as_ref(), arguments).output().unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        for row in rows.as_array().into_iter().flatten() {
            // Pods' interfaces are named lx…; what else the node has is none of a Pod's business.
            let device = row["ifname"].as_str().or(row["dev"].as_str()).unwrap_or_default();
            if device.starts_with("lx") {
                found.insert(format!("{} {device} {}", arguments.join(" "), row["dst"]));
            }
        }
    }
    let folder = cluster.folder();
    for place in [folder.join("bpf/worker-1"), folder.join("pods"), folder.join("nodes/worker-1/endpoints")] {
        walk(&place, &mut found);
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        // Other labs of this machine come and go as they like.
        if entry.file_name().to_string_lossy().starts_with(&format!("{}-", cluster.name)) {
            found.insert(entry.path().display().to_string());
        }
    }
    found.insert(format!("{:?} endpoints", endpoints(cluster)));
    found
}

fn walk(folder: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
    }
}

/// How many Pods the agent of worker-1 knows.
fn endpoints(cluster: &Cluster) -> Option<usize> {
    cluster.status()["nodes"][1]["agentStatus"]["endpoints"].as_array().map(Vec::len)
}

/// Kills every third `malla-cni` that it catches, by its number.
struct Killer {
    stop: Arc<AtomicBool>,
    killed: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Killer {
    fn start() -> Self {
        let (stop, killed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = std::thread::spawn({
            let (stop, killed) = (stop.clone(), killed.clone());
            move || hunt(&stop, &killed)
        });
        Self { stop, killed, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.killed.load(Ordering::Relaxed)
    }
}

fn hunt(stop: &AtomicBool, killed: &AtomicUsize) {
    // By file and not by name: other labs on this machine have a plugin of their own build.
    let plugin = fs::metadata(malla_path().with_file_name("malla-cni")).unwrap();
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(program) = fs::metadata(entry.path().join("exe")) else { continue };
            let is_plugin = (program.dev(), program.ino()) == (plugin.dev(), plugin.ino());
            if is_plugin && seen.insert(pid) && seen.len() % 3 == 1 {
                let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
                killed.fetch_add(usize::from(status.is_ok_and(|status| status.success())), Ordering::Relaxed);
            }
        }
    }
}
