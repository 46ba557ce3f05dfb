//! What people do with rollouts, by Debian's kubectl 1.20 and by whatever kubectl is on the PATH: the judges of our
//! conditions, annotations and Events.

mod cluster;

use cluster::{Cluster, Pace};
use controllers::Options;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

struct Kubectl<'a> {
    program: &'a Path,
    cluster: &'a Cluster,
    home: tempfile::TempDir,
}

impl Kubectl<'_> {
    /// Exit status and everything printed.
    fn try_run(&self, arguments: &[&str]) -> (bool, String) {
        let output = tokio::task::block_in_place(|| {
            Command::new(self.program)
                .args(arguments)
                .env("KUBECONFIG", self.cluster.api_server.kubeconfig())
                // Its discovery cache must not be another server's.
                .env("HOME", self.home.path())
                .output()
                .expect("kubectl starts")
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    fn run(&self, arguments: &[&str]) -> String {
        let (success, text) = self.try_run(arguments);
        assert!(success, "kubectl {arguments:?}: {text}");
        text
    }

    /// Runs and expects every one of these words in what is printed.
    fn tells(&self, arguments: &[&str], words: &[&str]) {
        let text = self.run(arguments);
        for word in words {
            assert!(text.contains(word), "kubectl {arguments:?} does not tell {word:?}:\n{text}");
        }
    }
}

async fn rollouts(program: &Path) {
    let cluster = Cluster::with_nodes(Options::default()).await;
    cluster.kubelet.set_pace(Pace { start: Duration::from_millis(100), stop: Duration::from_millis(50) });
    let kubectl = Kubectl { program, cluster: &cluster, home: tempfile::tempdir().expect("a folder") };
    let example = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/spink").join(file);
        path.display().to_string()
    };
    let status = ["rollout", "status", "deployment/spink", "--timeout=30s"];
    let rolled_out = ["deployment \"spink\" successfully rolled out"];

    kubectl.run(&["apply", "-f", &example("deployment.yaml"), "-f", &example("service-nodeport.yaml")]);
    kubectl.tells(&status, &rolled_out);
    kubectl.run(&["wait", "--for=condition=available", "deployment/spink", "--timeout=30s"]);
    kubectl.run(&["scale", "deployment/spink", "--replicas=5"]);
    kubectl.tells(&status, &rolled_out);
    kubectl.tells(&["get", "deployment", "spink"], &["5/5"]);

    kubectl.run(&["set", "image", "deployment/spink", "spink=localhost/spink:1.0.2"]);
    kubectl.tells(&status, &rolled_out);
    kubectl.tells(&["rollout", "history", "deployment/spink", "--revision=2"], &["localhost/spink:1.0.2"]);
    kubectl.run(&["rollout", "undo", "deployment/spink"]);
    kubectl.tells(&status, &rolled_out);
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.run(&["get", "deployment", "spink", "-o", image]), "localhost/spink:1.0.1");
    kubectl.run(&["rollout", "restart", "deployment/spink"]);
    kubectl.tells(&status, &rolled_out);

    kubectl.run(&["rollout", "pause", "deployment/spink"]);
    kubectl.run(&["set", "image", "deployment/spink", "spink=localhost/spink:1.0.4"]);
    let of_pods = "jsonpath={.items[*].spec.containers[0].image}";
    assert!(!kubectl.run(&["get", "pods", "-l", "app=spink", "-o", of_pods]).contains("1.0.4"));
    kubectl.run(&["rollout", "resume", "deployment/spink"]);
    kubectl.tells(&status, &rolled_out);

    kubectl.tells(
        &["describe", "deployment", "spink"],
        &[
            "5 desired | 5 updated | 5 total | 5 available | 0 unavailable",
            "Available      True    MinimumReplicasAvailable",
            "Progressing    True    NewReplicaSetAvailable",
            "NewReplicaSet:",
            "(5/5 replicas created)",
            "ScalingReplicaSet",
            "deployment-controller",
        ],
    );
    let pod = kubectl.run(&["get", "pods", "-l", "app=spink", "-o", "jsonpath={.items[0].metadata.name}"]);
    kubectl.tells(&["describe", "pod", &pod], &["Controlled By:", "Scheduled", "Successfully assigned default/spink-"]);
    kubectl.tells(&["describe", "service", "spink"], &[":8080", "NodePort:"]);
    kubectl.tells(&["describe", "node", "worker-1"], &["10.244.1.0/24", "spink-"]);

    // Cordon, drain and back.
    let nodes_of_pods = "jsonpath={.items[*].spec.nodeName}";
    kubectl.run(&["drain", "worker-1", "--ignore-daemonsets", "--timeout=30s"]);
    kubectl.tells(&status, &rolled_out);
    let nodes = kubectl.run(&["get", "pods", "-l", "app=spink", "-o", nodes_of_pods]);
    assert_eq!(nodes, ["worker-2"; 5].join(" "), "after the drain");
    kubectl.tells(&["get", "nodes"], &["Ready,SchedulingDisabled"]);
    kubectl.run(&["cordon", "worker-2"]);
    kubectl.run(&["scale", "deployment/spink", "--replicas=6"]);
    cluster::eventually("the sixth is told why it waits", || async {
        let events = kubectl.run(&["get", "events"]);
        let told =
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 node(s) were unschedulable";
        if events.contains(told) { Ok(()) } else { Err(events) }
    })
    .await;
    kubectl.run(&["uncordon", "worker-1"]);
    kubectl.tells(&status, &rolled_out);
    kubectl.run(&["uncordon", "worker-2"]);
    kubectl.run(&["scale", "deployment/spink", "--replicas=5"]);

    // A rollout that cannot succeed is told as such.
    kubectl.run(&["patch", "deployment", "spink", "-p", r#"{"spec":{"progressDeadlineSeconds":2}}"#]);
    kubectl.run(&["set", "image", "deployment/spink", "spink=bad"]);
    let (success, text) = kubectl.try_run(&status);
    assert!(!success && text.contains("exceeded its progress deadline"), "{text}");

    kubectl.run(&["delete", "deployment/spink", "service/spink"]);
    let (_, _) = kubectl.try_run(&["wait", "--for=delete", "pod", "-l", "app=spink", "--timeout=30s"]);
    let left = kubectl.run(&["get", "pods,replicasets,endpointslices", "-l", "app=spink"]);
    assert!(left.contains("No resources found"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_by_debians_kubectl() {
    // target/debug/deps/kubectl-… → target/debian, where `make setup` unpacks Debian's packages.
    let target = std::env::current_exe().expect("this test").ancestors().nth(3).map(Path::to_owned).expect("a target");
    let program = target.join("debian/usr/bin/kubectl");
    assert!(program.is_file(), "{} is missing: `make setup` unpacks it", program.display());
    rollouts(&program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_by_the_kubectl_on_the_path() {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        std::env::split_paths(&paths).map(|folder| folder.join("kubectl")).find(|program| program.is_file());
    match found {
        Some(program) => rollouts(&program).await,
        None => println!("skipped: no kubectl on the PATH (Debian's is tested in any case)"),
    }
}
