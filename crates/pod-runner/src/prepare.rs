//! From a container's specification to what its shim is told. Pure, but for looking which files of /etc exist.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Container as Spec, Pod, PodSpec, Secret};

use crate::{
    environment::{self, EnvironmentError, Sources, expand},
    files::PodDir,
    image::{Image, ImageError, resolve},
    options::RunnerOptions,
    sandbox::random_id,
    shim::{Mount, ShimConfig},
};

/// What [`shim_config`] needs to know.
#[derive(Debug)]
pub struct Preparation<'a> {
    pub options: &'a RunnerOptions,
    pub pod: &'a Pod,
    pub dir: &'a PodDir,
    pub pod_ips: &'a [IpAddr],
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
}

/// Why a container can't be started; each has its waiting reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("container image {0:?} is not built in and imagePullPolicy is Never")]
    NeverPull(String),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("volume mount {0:?}: volumes are not supported by the lab's Pod runner")]
    Volume(String),
    #[error("image malla.dev/host needs a command")]
    NoCommand,
}

impl PrepareError {
    /// The waiting reason that kubelet uses.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Image(error) => error.reason(),
            Self::NeverPull(_) => "ErrImageNeverPull",
            Self::Environment(_) | Self::Volume(_) => "CreateContainerConfigError",
            Self::NoCommand => "CreateContainerError",
        }
    }
}

/// Whether the container runs `malla workload …` with its manners: it says when it listens, and drains when asked.
#[must_use]
pub fn is_built_in(spec: &Spec) -> bool {
    let image = resolve(spec.image.as_deref().unwrap_or_default());
    matches!(image, Ok(Image::BuiltIn(_))) && spec.command.as_ref().is_none_or(Vec::is_empty)
}

/// Everything the shim needs for run number `attempt` of `spec`.
pub fn shim_config(preparation: &Preparation<'_>, spec: &Spec, attempt: u32) -> Result<ShimConfig, PrepareError> {
    let Preparation { options, pod, dir, pod_ips, .. } = preparation;
    let image_name = spec.image.as_deref().unwrap_or_default();
    let image = match resolve(image_name) {
        Err(ImageError::Unavailable(name)) if spec.image_pull_policy.as_deref() == Some("Never") => {
            return Err(PrepareError::NeverPull(name));
        }
        image => image?,
    };
    if let Some(mount) = spec.volume_mounts.iter().flatten().next() {
        return Err(PrepareError::Volume(mount.name.clone()));
    }
    let pod_spec = pod.spec.clone().unwrap_or_default();
    let host_network = pod_spec.host_network == Some(true);
    let environment = environment(preparation, spec, &pod_spec)?;
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &environment)).collect()
    };
    let (command, arguments) = (expanded(&spec.command), expanded(&spec.args));
    let built_in = is_built_in(spec);
    let mut argv = match (command.is_empty(), image) {
        (false, _) => command,
        (true, Image::BuiltIn(name)) => vec![options.malla.display().to_string(), "workload".into(), name.into()],
        (true, Image::Host) => Vec::new(),
    };
    argv.extend(arguments);
    if argv.is_empty() {
        return Err(PrepareError::NoCommand);
    }
    let of_pod = pod_spec.security_context.as_ref();
    let of_container = spec.security_context.as_ref();
    let id = |own: Option<i64>, pods: Option<i64>| own.or(pods).and_then(|id| u32::try_from(id).ok());
    let (mounts, etc_over) = etc_files(dir, host_network);
    Ok(ShimConfig {
        id: random_id(),
        argv,
        env: environment,
        working_dir: spec.working_dir.clone().filter(|folder| !folder.is_empty()).map(PathBuf::from),
        netns: if host_network { options.node_netns.clone() } else { dir.netns() },
        hostname: Some(if host_network { options.node_name.clone() } else { hostname(pod, &pod_spec) }),
        mounts,
        etc_over,
        own_sysfs: !host_network,
        hide: options.lab_dir.clone(),
        cgroup: options
            .cgroup
            .as_deref()
            .map(|node| crate::cgroup::of_pod(node, pod.metadata.uid.as_deref().unwrap_or_default()).join(&spec.name)),
        user: id(of_container.and_then(|context| context.run_as_user), of_pod.and_then(|context| context.run_as_user)),
        group: id(
            of_container.and_then(|context| context.run_as_group),
            of_pod.and_then(|context| context.run_as_group),
        ),
        log: dir.log(&spec.name, attempt),
        log_max_bytes: LOG_MAX_BYTES,
        reports_ready: built_in,
        built_in,
        addresses: pod_ips.to_vec(),
    })
}

/// The Pod's hostname: its own wish or its name (kubelet's `GeneratePodHostNameAndDomain`).
#[must_use]
pub fn hostname(pod: &Pod, spec: &PodSpec) -> String {
    let name = spec.hostname.clone().filter(|name| !name.is_empty());
    let mut name = name.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // The kernel takes 64 characters, Kubernetes promises 63.
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn environment(
    preparation: &Preparation<'_>,
    spec: &Spec,
    pod_spec: &PodSpec,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let Preparation { options, pod, pod_ips, .. } = preparation;
    let texts = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    let own_folder = options.malla.parent().map(|folder| format!("{}:", folder.display())).unwrap_or_default();
    let api = options.kubernetes_service;
    let metadata = &pod.metadata;
    let mut base: BTreeMap<String, String> = [
        // `malla` itself is there for whoever execs into a container.
        ("PATH", format!("{own_folder}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")),
        ("HOSTNAME", hostname(pod, pod_spec)),
        ("HOME", "/root".into()),
        ("KUBERNETES_SERVICE_HOST", api.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", api.port().to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", api.port().to_string()),
        ("KUBERNETES_PORT", format!("tcp://{api}")),
        ("KUBERNETES_PORT_443_TCP", format!("tcp://{api}")),
        ("KUBERNETES_PORT_443_TCP_PROTO", "tcp".into()),
        ("KUBERNETES_PORT_443_TCP_PORT", api.port().to_string()),
        ("KUBERNETES_PORT_443_TCP_ADDR", api.ip().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if is_built_in(spec) {
        let grace = pod_spec.termination_grace_period_seconds.unwrap_or(30).max(0);
        base.extend(
            [
                ("MALLA_POD_NAME", metadata.name.clone().unwrap_or_default()),
                ("MALLA_POD_NAMESPACE", metadata.namespace.clone().unwrap_or_default()),
                ("MALLA_NODE_NAME", options.node_name.clone()),
                ("MALLA_POD_IPS", texts(pod_ips).join(",")),
                ("MALLA_GRACE_SECONDS", grace.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        // What the Pod declares is what a built-in server opens.
        let ports: Vec<String> = spec
            .ports
            .iter()
            .flatten()
            .map(|port| (port.container_port, port.protocol.as_deref().unwrap_or("TCP")))
            .filter(|(_, protocol)| matches!(*protocol, "TCP" | "UDP"))
            .map(|(number, protocol)| format!("{number}/{protocol}"))
            .collect();
        if !ports.is_empty() {
            base.insert("MALLA_PORTS".into(), ports.join(","));
        }
    }
    let sources = Sources {
        pod: Some(pod),
        node_name: &options.node_name,
        pod_ips: texts(pod_ips),
        host_ips: texts(&options.host_ips),
        config_maps: preparation.config_maps.clone(),
        secrets: preparation.secrets.clone(),
    };
    environment::build(base, spec, &sources)
}

/// What the containers see of the Pod's own files in /etc: mounts over the machine's, or the folder of all of them where
/// the machine lacks one (a mount needs something to lie on, and the machine's own /etc is not ours to add to).
fn etc_files(dir: &PodDir, host_network: bool) -> (Vec<Mount>, Option<PathBuf>) {
    let own = [(dir.hosts(), "/etc/hosts"), (dir.resolv_conf(), "/etc/resolv.conf"), (dir.hostname(), "/etc/hostname")];
    let exists = |(_, target): &(PathBuf, &str)| std::path::Path::new(target).exists();
    if !host_network && !own.iter().all(exists) {
        return (Vec::new(), Some(dir.etc()));
    }
    let mounts = own
        .into_iter()
        // On the host network only the resolver may differ from the node's.
        .filter(|(_, target)| !host_network || *target == "/etc/resolv.conf")
        .filter(exists)
        .map(|(source, target)| Mount { source, target: target.into(), read_only: false })
        .collect();
    (mounts, None)
}

/// As kubelet's `containerLogMaxSize`.
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
