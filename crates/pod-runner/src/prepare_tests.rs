//! Tests of [`super`].

use serde_json::json;

use super::*;
use crate::options::NodeTemplate;

fn options() -> RunnerOptions {
    RunnerOptions {
        node_name: "worker-1".into(),
        node_netns: "/run/netns/lab-worker-1".into(),
        cni_conf_dir: "/conf".into(),
        cni_path: vec![],
        pods_dir: "/pods".into(),
        lab_dir: "/lab".into(),
        cgroup: Some("/cg/worker-1".into()),
        agent_sockets: vec![],
        host_ips: vec!["172.18.0.3".parse().unwrap()],
        malla: "/opt/malla".into(),
        cluster_dns: vec![],
        cluster_domain: "cluster.local".into(),
        resolv_conf: "/etc/resolv.conf".into(),
        kubernetes_service: "10.96.0.1:443".parse().unwrap(),
        node: NodeTemplate::default(),
    }
}

fn config(container: serde_json::Value, pod_extra: serde_json::Value) -> Result<ShimConfig, PrepareError> {
    let mut spec = json!({"containers": [container]});
    spec.as_object_mut().unwrap().extend(pod_extra.as_object().unwrap().clone());
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1"}, "spec": spec}))
    .unwrap();
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    let ips = ["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    let (options, dir) = (options(), PodDir("/pods/u1".into()));
    let preparation = Preparation {
        options: &options,
        pod: &pod,
        dir: &dir,
        pod_ips: &ips,
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    shim_config(&preparation, &container, 2)
}

#[test]
fn a_built_in_image_is_malla_itself() {
    let config = config(
        json!({"name": "c", "image": "malla.dev/echo", "args": ["--ports", "$(P)"],
               "env": [{"name": "P", "value": "1/TCP"}],
               "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}),
        json!({"terminationGracePeriodSeconds": 7}),
    )
    .unwrap();
    assert_eq!(config.argv, ["/opt/malla", "workload", "echo", "--ports", "1/TCP"]);
    assert!(config.reports_ready);
    assert_eq!(config.env["MALLA_PORTS"], "80/TCP,53/UDP");
    assert_eq!(config.env["MALLA_POD_IPS"], "10.244.1.2,fd00::2");
    assert_eq!(config.env["MALLA_GRACE_SECONDS"], "7");
    assert_eq!(config.env["KUBERNETES_PORT"], "tcp://10.96.0.1:443");
    assert!(config.env["PATH"].starts_with("/opt:/usr/local/sbin"));
    assert_eq!(config.hostname.as_deref(), Some("web-1"));
    assert_eq!(config.netns, PathBuf::from("/pods/u1/netns"));
    assert_eq!(config.cgroup, Some("/cg/worker-1/pod-u1/c".into()));
    assert_eq!(config.log, PathBuf::from("/pods/u1/containers/c/2.log"));
}

#[test]
fn an_own_command_is_not_a_built_in_workload() {
    let config =
        config(json!({"name": "c", "image": "malla.dev/client", "command": ["sleep", "1"]}), json!({})).unwrap();
    assert_eq!(config.argv, ["sleep", "1"]);
    assert!(!config.reports_ready, "nobody would ever say that it is ready");
    assert!(!config.env.contains_key("MALLA_POD_NAME"));
}

#[test]
fn the_host_network_shows_the_nodes_world() {
    let host =
        json!({"name": "c", "image": "malla.dev/host", "command": ["true"], "securityContext": {"runAsUser": 1000}});
    let config = config(host, json!({"hostNetwork": true, "securityContext": {"runAsGroup": 100}})).unwrap();
    assert_eq!(config.netns, PathBuf::from("/run/netns/lab-worker-1"));
    assert!(!config.own_sysfs);
    assert_eq!((config.user, config.group), (Some(1000), Some(100)));
    assert!(config.mounts.iter().all(|mount| mount.target == std::path::Path::new("/etc/resolv.conf")));
}

#[test]
fn what_cannot_start_says_why_in_kubelets_words() {
    let reason = |container| config(container, json!({})).unwrap_err().reason();
    assert_eq!(reason(json!({"name": "c", "image": "nginx"})), "ErrImagePull");
    assert_eq!(reason(json!({"name": "c", "image": "nginx", "imagePullPolicy": "Never"})), "ErrImageNeverPull");
    assert_eq!(reason(json!({"name": "c", "image": "malla.dev/host"})), "CreateContainerError");
    let volume = json!({"name": "c", "image": "malla.dev/echo", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    assert_eq!(reason(volume), "CreateContainerConfigError");
    let missing = json!({"name": "c", "image": "malla.dev/echo", "envFrom": [{"configMapRef": {"name": "m"}}]});
    assert_eq!(reason(missing), "CreateContainerConfigError");
}
