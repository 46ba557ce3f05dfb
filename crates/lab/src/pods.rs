//! `malla lab exec` and `malla lab logs`: the Pod runner's own, so that they work without the API too.

use std::io::{self, stdout};

use pod_runner::{LogOptions, exec as run_in, logs as print_logs, target};

use crate::{
    cli::{ExecArgs, LogsArgs, PodArgs},
    files::Folders,
    preflight::require_root,
    state::LabState,
};

/// Runs the command and ends this process with its exit status.
pub fn exec(args: &ExecArgs) -> anyhow::Result<()> {
    let folders = lab_of(&args.pod)?;
    let pod = &args.pod;
    let target = target(&folders.pods(), &pod.namespace, &pod.pod, pod.container.as_deref())?;
    std::process::exit(run_in(&target, &args.command)?)
}

/// Prints what the container wrote.
pub fn logs(args: &LogsArgs) -> anyhow::Result<()> {
    let folders = lab_of(&args.pod)?;
    let options = LogOptions {
        container: args.pod.container.clone(),
        previous: args.previous,
        follow: args.follow,
        timestamps: args.timestamps,
        tail: args.tail,
    };
    match print_logs(&folders.pods(), &args.pod.namespace, &args.pod.pod, &options, &mut stdout().lock()) {
        // `malla lab logs … | head` has read enough.
        Err(pod_runner::LogError::Read(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn lab_of(pod: &PodArgs) -> anyhow::Result<Folders> {
    require_root()?;
    let folders = Folders::of(&pod.which.name);
    LabState::require(pod.which.name.as_str(), &folders)?;
    Ok(folders)
}
