//! The runner of one node: which Pods are its own, and a task for each.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    heartbeat,
    node::Node,
    options::RunnerOptions,
    pod::{self, Wanted},
    sandbox::Sandbox,
};

/// Why a runner could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("create {0}")]
    Folder(String, #[source] std::io::Error),
    #[error("open the node's network namespace")]
    Namespace(#[from] network_namespace::Error),
}

/// Runs the Pods of one node until `cancel`, and then leaves them running: the next runner takes them over.
pub async fn run(options: RunnerOptions, client: Client, cancel: CancellationToken) -> Result<(), RunError> {
    let folder = |path: &std::path::Path| {
        std::fs::create_dir_all(path).map_err(|error| RunError::Folder(path.display().to_string(), error))
    };
    folder(&options.pods_dir)?;
    if let Some(cgroup) = &options.cgroup {
        folder(cgroup)?;
    }
    let node = Arc::new(Node::open(options, client)?);
    let mut background = JoinSet::new();
    background.spawn(heartbeat::run(node.clone()));
    tokio::select! {
        () = watch_pods(node, &mut background) => {}
        () = cancel.cancelled() => {}
    }
    // Dropping the tasks touches no container: shims are nobody's children for long.
    Ok(())
}

/// The Pods that have a task, by uid.
struct Pods {
    node: Arc<Node>,
    workers: HashMap<String, Worker>,
    tasks: JoinSet<String>,
}

struct Worker {
    wanted: watch::Sender<Wanted>,
}

async fn watch_pods(node: Arc<Node>, background: &mut JoinSet<()>) {
    let api: Api<Pod> = Api::all(node.client.clone());
    let selection = watcher::Config::default().fields(&format!("spec.nodeName={}", node.options.node_name));
    // A restarted API is back within a second; waiting half a minute for it would be waiting for nothing.
    let mut events = watcher(api, selection).backoff(Backoff::operations()).boxed();
    let mut pods = Pods { node: node.clone(), workers: HashMap::new(), tasks: JoinSet::new() };
    let mut listed = HashSet::new();
    let mut first_list = true;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Some(finished) = pods.tasks.join_next() => {
                match finished {
                    Ok(uid) => drop(pods.workers.remove(&uid)),
                    Err(error) => tracing::error!(%error, "a Pod's task has failed"),
                }
                continue;
            }
        };
        match event {
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(pod))) => {
                listed.insert(pod.metadata.uid.clone().unwrap_or_default());
                pods.present(pod);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                for sandbox in Sandbox::of_node(&node.options.pods_dir, &node.options.node_name) {
                    if !listed.contains(&sandbox.uid) && !pods.workers.contains_key(&sandbox.uid) {
                        pods.start(sandbox.uid, Wanted::Gone);
                    }
                }
                pods.keep_only(&listed);
                if std::mem::take(&mut first_list) {
                    background.spawn(collect_garbage(node.clone()));
                }
            }
            Some(Ok(watcher::Event::Apply(pod))) => pods.present(pod),
            Some(Ok(watcher::Event::Delete(pod))) => pods.gone(pod.metadata.uid.as_deref().unwrap_or_default()),
            Some(Err(error)) => tracing::debug!(node = node.options.node_name, %error, "watch of Pods"),
            None => return,
        }
    }
}

impl Pods {
    fn present(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let wanted = Wanted::Present(Arc::new(pod));
        match self.workers.get(&uid) {
            Some(worker) => drop(worker.wanted.send_replace(wanted)),
            None => self.start(uid, wanted),
        }
    }

    fn gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get(uid) {
            worker.wanted.send_replace(Wanted::Gone);
        }
    }

    fn keep_only(&mut self, listed: &HashSet<String>) {
        for (uid, worker) in &self.workers {
            if !listed.contains(uid) {
                worker.wanted.send_replace(Wanted::Gone);
            }
        }
    }

    fn start(&mut self, uid: String, wanted: Wanted) {
        let (sender, receiver) = watch::channel(wanted);
        self.workers.insert(uid.clone(), Worker { wanted: sender });
        let node = self.node.clone();
        self.tasks.spawn(async move {
            pod::run(node, uid.clone(), receiver).await;
            uid
        });
    }
}

/// Tells the plugin once which attachments exist, so that it releases what a crash has left.
async fn collect_garbage(node: Arc<Node>) {
    let mut backoff = Backoff::operations();
    loop {
        let result = {
            let Ok(_nobody_attaching) = timeout(GC_WAIT, node.attaching.write()).await else { continue };
            let sandboxes = Sandbox::of_node(&node.options.pods_dir, &node.options.node_name);
            let valid: Vec<_> = sandboxes.into_iter().filter_map(|sandbox| sandbox.attachment).collect();
            node.network.gc(&valid).await
        };
        match result {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(error = crate::chain(&error), "CNI GC not done yet");
                sleep(backoff.delay()).await;
            }
        }
    }
}

const GC_WAIT: Duration = Duration::from_secs(60);
