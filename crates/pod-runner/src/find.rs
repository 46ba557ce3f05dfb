//! Finding a Pod's container by name, from the files alone: no API is needed to exec or to read logs.

use std::path::{Path, PathBuf};

use crate::{
    files::{AttemptDir, PodDir, entries, read_json},
    sandbox::Sandbox,
    shim::{Running, ShimConfig},
};

/// A running container.
#[derive(Debug, Clone)]
pub struct Target {
    pub container: String,
    pub running: Running,
    pub config: ShimConfig,
}

/// Why a container was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("pod {namespace}/{name} is not in this lab")]
    NoPod { namespace: String, name: String },
    #[error("pod {pod} has no container {container:?}; it has {}", have.join(", "))]
    NoContainer { pod: String, container: String, have: Vec<String> },
    #[error("pod {pod} has several containers; choose one of {}", have.join(", "))]
    Choose { pod: String, have: Vec<String> },
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("container {0} has no earlier run")]
    NoPrevious(String),
}

/// The folder of the newest Pod of that name.
pub fn pod(pods: &Path, namespace: &str, name: &str) -> Result<(PodDir, Sandbox), FindError> {
    entries(pods)
        .filter_map(|folder| {
            let dir = PodDir(folder);
            let sandbox = read_json::<Sandbox>(&dir.sandbox()).ok().flatten()?;
            (sandbox.namespace == namespace && sandbox.name == name).then_some((dir, sandbox))
        })
        .max_by_key(|(_, sandbox)| sandbox.created_at)
        .ok_or_else(|| FindError::NoPod { namespace: namespace.into(), name: name.into() })
}

/// The container to mean: the one named, or the only one.
pub fn container(dir: &PodDir, sandbox: &Sandbox, container: Option<&str>) -> Result<String, FindError> {
    let have = dir.containers();
    match container {
        Some(name) if have.iter().any(|have| have == name) => Ok(name.into()),
        Some(name) => Err(FindError::NoContainer { pod: sandbox.name.clone(), container: name.into(), have }),
        None => match have.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(FindError::NotRunning(sandbox.name.clone())),
            _ => match sandbox.default_container.clone().filter(|name| have.contains(name)) {
                Some(name) => Ok(name),
                None => Err(FindError::Choose { pod: sandbox.name.clone(), have }),
            },
        },
    }
}

/// The running container of a Pod.
pub fn target(pods: &Path, namespace: &str, name: &str, container_name: Option<&str>) -> Result<Target, FindError> {
    let (dir, sandbox) = pod(pods, namespace, name)?;
    let container = container(&dir, &sandbox, container_name)?;
    let attempt = dir.attempts(&container).last().copied();
    attempt
        .and_then(|attempt| target_in(&dir.attempt(&container, attempt), &container))
        .ok_or(FindError::NotRunning(container))
}

/// The container in `dir`, if it runs.
pub fn target_in(dir: &AttemptDir, container: &str) -> Option<Target> {
    if dir.exit().exists() {
        return None;
    }
    let running = read_json(&dir.running()).ok().flatten()?;
    let config = read_json(&dir.config()).ok().flatten()?;
    Some(Target { container: container.into(), running, config })
}

/// The log files of a container's last run (or the one before), oldest first.
pub fn logs(
    pods: &Path,
    namespace: &str,
    name: &str,
    container_name: Option<&str>,
    previous: bool,
) -> Result<(AttemptDir, PathBuf), FindError> {
    let (dir, sandbox) = pod(pods, namespace, name)?;
    let container = container(&dir, &sandbox, container_name)?;
    let attempts = dir.attempts(&container);
    let chosen = attempts.iter().rev().nth(usize::from(previous));
    match chosen {
        Some(number) => Ok((dir.attempt(&container, *number), dir.log(&container, *number))),
        None if previous => Err(FindError::NoPrevious(container)),
        None => Err(FindError::NotRunning(container)),
    }
}
