//! Taking all Pods of a lab down without an API: for `lab down`, and after a crash.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use crate::{
    container::Container,
    files::{PodDir, entries},
    sandbox::remove_netns,
};

/// Kills every container under `pods`, removes every Pod's network namespace and then the folder. Cgroups are the
/// caller's, who knows the node's. Does everything it can and returns what went wrong.
pub async fn remove_all(pods: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for folder in entries(pods).filter(|path| path.is_dir()) {
        let dir = PodDir(folder);
        for name in dir.containers() {
            for number in dir.attempts(&name) {
                match Container::adopt(dir.attempt(&name, number)) {
                    Ok(Some(container)) => {
                        let started = tokio::time::timeout(PATIENCE, container.started()).await;
                        if started.is_ok_and(|progress| progress.exit.is_none()) {
                            let _ = container.signal(Signal::KILL);
                        }
                        if tokio::time::timeout(PATIENCE, container.ended()).await.is_err() {
                            problems.push(format!("container {} does not end", container.id));
                        }
                    }
                    Ok(None) => {}
                    Err(error) => problems.push(format!("{}: {error}", dir.0.display())),
                }
            }
        }
        if let Err(error) = remove_netns(&dir.netns()) {
            problems.push(crate::chain(&error));
        }
    }
    if let Err(error) = std::fs::remove_dir_all(pods)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        problems.push(format!("remove {}: {error}", pods.display()));
    }
    problems
}

const PATIENCE: Duration = Duration::from_secs(5);
