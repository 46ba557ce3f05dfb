//! `make demo`: from nothing to `curl http://localhost:30080` answered by both replicas; and its removal.

use crate::build::{self, Profile};
use crate::needs::Purpose;
use crate::{command, preconditions, repository, setup};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LAB: &str = "malla";
/// hostPort of examples/spink/kind-cluster.yaml, and nodePort of service-nodeport.yaml.
const PORT: u16 = 30080;
/// A request to the Service is answered in milliseconds; both replicas within a few requests.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn up() -> Result<()> {
    let started = Instant::now();
    preconditions::check()?;
    if !lab_folder().exists() {
        preconditions::port_is_free(PORT)?;
    }
    setup::run(Purpose::Demo)?;
    step("building (the first time takes some minutes)");
    let malla = build::run(Profile::Release)?;

    step("bringing up three nodes: control-plane, worker-1, worker-2");
    let mut lab = command::new(&malla, &["lab", "up", "--name", LAB, "--wait"]);
    lab.arg("--config").arg(repository::root().join("examples/spink/kind-cluster.yaml"));
    command::check(lab)?;
    let kubectl = Kubectl::find();

    step("applying examples/spink/deployment.yaml and service-nodeport.yaml");
    for file in ["deployment.yaml", "service-nodeport.yaml"] {
        let path = repository::root().join("examples/spink").join(file);
        command::check(kubectl.command(&["apply", "-f", &path.to_string_lossy()]))?;
    }
    command::check(kubectl.command(&["rollout", "status", "deployment/spink", "--timeout=90s"]))?;

    step(&format!("curl http://localhost:{PORT}, until both replicas have answered"));
    let pods = kubectl.pods("app=spink")?;
    let answers = ask_until_all_answered(&pods)?;
    for (pod, answer) in &answers {
        println!("  {pod} on {} answered: {}", pods[pod], answer.trim().replace('\n', ", "));
    }
    what_next(&malla);
    println!(
        "\nThe demo is up: {} of {} replicas answered at http://localhost:{PORT} after {} s in all.",
        answers.len(),
        pods.len(),
        started.elapsed().as_secs()
    );
    Ok(())
}

pub fn down() -> Result<()> {
    preconditions::root()?;
    let malla = [Profile::Release, Profile::Dev]
        .map(|profile| repository::target().join(profile.folder()).join("malla"))
        .into_iter()
        .find(|path| path.exists());
    let Some(malla) = malla else {
        if lab_folder().exists() {
            bail!(
                "{} is there but no built malla to remove it with: run `make build`, then this again",
                lab_folder().display()
            );
        }
        println!("There is no lab, and nothing was built yet: nothing to remove.");
        return Ok(());
    };
    command::check(command::new(malla, &["lab", "down", "--name", LAB]))?;
    let left = left_behind();
    if !left.is_empty() {
        bail!("`malla lab down` left behind: {}", left.join(", "));
    }
    println!("The demo is gone: no namespace, process, pin, mount or cgroup of it is left.");
    Ok(())
}

/// What a lab has by name: its folder (with pins and process states), namespaces, mounts, cgroups. `cargo xtask
/// clean-check` looks at the whole machine.
fn left_behind() -> Vec<String> {
    let mine = |name: &str| name.strip_prefix(LAB).is_some_and(|rest| rest.starts_with('-'));
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut left: Vec<String> = namespaces
        .filter(|entry| mine(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path().display().to_string())
        .collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|place| Path::new(place).starts_with(lab_folder()));
    left.extend(places.map(str::to_owned));
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| line.split(' ').nth(4));
    let folders = cgroups.map(|mount| Path::new(mount).join(format!("malla-{LAB}"))).chain([lab_folder()]);
    left.extend(folders.filter(|folder| folder.exists()).map(|folder| folder.display().to_string()));
    left
}

fn lab_folder() -> PathBuf {
    Path::new("/run/malla").join(LAB)
}

/// kubectl with the lab's kubeconfig: the machine's own if there is one, otherwise the one unpacked by setup.
struct Kubectl {
    program: PathBuf,
}

impl Kubectl {
    fn find() -> Self {
        let unpacked = repository::unpacked().join("usr/bin/kubectl");
        let program = command::find("kubectl").unwrap_or(unpacked);
        Self { program }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command::new(&self.program, arguments);
        command.env("KUBECONFIG", lab_folder().join("kubeconfig"));
        // Proxies are for what lies outside; the lab's API is on this machine.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    /// Name and node of each running Pod that the selector finds.
    fn pods(&self, selector: &str) -> Result<BTreeMap<String, String>> {
        let columns = "go-template={{range .items}}{{.metadata.name}} {{.spec.nodeName}}{{\"\\n\"}}{{end}}";
        let said = command::output(self.command(&["get", "pods", "-l", selector, "-o", columns]))?;
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(pod, node)| (pod.to_owned(), node.to_owned())).collect())
    }
}

/// Asks, a new connection each time, until every Pod was heard; returns the first answer of each.
fn ask_until_all_answered(pods: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    if pods.is_empty() {
        bail!("the Deployment has no Pods, so nobody can answer");
    }
    let url = format!("http://localhost:{PORT}");
    let mut answers = BTreeMap::new();
    let mut last = String::from("nothing was asked");
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match command::output(command::new("curl", &["-sS", "--noproxy", "*", "--max-time", "5", &url])) {
            Ok(answer) => {
                last = answer.clone();
                if let Some(pod) = pods.keys().find(|pod| answer.contains(pod.as_str())) {
                    answers.entry(pod.clone()).or_insert(answer);
                }
            }
            Err(error) => {
                last = format!("{error:#}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        if answers.len() == pods.len() {
            return Ok(answers);
        }
    }
    let silent: Vec<_> = pods.keys().filter(|pod| !answers.contains_key(*pod)).cloned().collect();
    bail!("{} did not answer within {} s; the last answer was: {last}", silent.join(" and "), PATIENCE.as_secs())
}

fn what_next(malla: &Path) {
    let malla = malla.strip_prefix(repository::root()).unwrap_or(malla).display();
    println!("\nWhat to try next:");
    for (line, why) in [
        ("curl http://localhost:30080".to_owned(), "again and again: another replica answers"),
        (
            format!("export KUBECONFIG={}", lab_folder().join("kubeconfig").display()),
            "then kubectl, k9s and Helm see the lab",
        ),
        ("kubectl get pods -o wide".to_owned(), "who runs where, with which address"),
        ("kubectl scale deployment spink --replicas=5".to_owned(), "and curl again"),
        (format!("{malla} status"), "what the agents do, and what that costs"),
        (format!("{malla} monitor"), "packets as the datapath judges them"),
        (format!("{malla} lab node-shell worker-1"), "a shell inside a node"),
        ("make demo-down".to_owned(), "removes all of it"),
    ] {
        println!("  {line:<48} {why}");
    }
}

fn step(what: &str) {
    println!("\n==> {what}");
}
