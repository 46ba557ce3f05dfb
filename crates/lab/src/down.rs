//! `malla lab down`: removes a lab, whatever is left of it. Does everything, then reports everything.
//!
//! Nothing here trusts the lab to be whole: processes are found by their files and by the namespaces they live in,
//! mounts in the kernel's own table, namespaces by their names.

use std::{collections::BTreeSet, ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use anyhow::{Context, bail};
use network_namespace::NetNsId;
use rustix::process::Signal;

use crate::{
    apply,
    cgroup::LabCgroup,
    cli::DownArgs,
    files::{Folders, existing_labs},
    lock::FolderLock,
    mounts,
    name::LabName,
    pins,
    preflight::require_root,
    process::ProcessId,
    progress::Progress,
    residents::residents,
    shared,
};

/// Removes one lab or all.
pub fn run(args: &DownArgs) -> anyhow::Result<()> {
    require_root()?;
    let labs = if args.all { existing_labs()? } else { vec![args.which.name.clone()] };
    if labs.is_empty() {
        println!("There is no lab on this machine.");
    }
    let mut failed = Vec::new();
    for lab in labs {
        match remove(&lab) {
            Ok(true) => println!("Lab {lab} is gone."),
            Ok(false) => println!("There is no lab {lab}."),
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(lab.to_string());
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("not removed whole: {}; `malla lab down` can be run again", failed.join(", "))
    }
}

/// Removes everything of `lab`. Returns whether there was anything.
fn remove(lab: &LabName) -> anyhow::Result<bool> {
    let folders = Folders::of(lab);
    let cgroup = LabCgroup::of(lab);
    let namespaces = apply::existing_namespaces(lab)?;
    let has_cgroup = cgroup.as_ref().is_ok_and(|cgroup| cgroup.root().exists());
    if !folders.root().exists() && namespaces.is_empty() && !has_cgroup {
        shared::release()?;
        return Ok(false);
    }
    if let Ok(cgroup) = &cgroup
        && cgroup.holds_us()?
    {
        bail!("this shell is inside lab {lab} and would be ended first: leave it, then run `malla lab down` again");
    }
    let lock = FolderLock::wait(folders.root()).context("lock the lab's folder")?;
    let mut progress = Progress::start();
    let mut removal = Removal { folders, problems: Vec::new() };

    progress.step("supervisor");
    removal.end_supervisors(lab);
    progress.step("Pods");
    match &cgroup {
        Ok(cgroup) => removal.note("kill what runs in the lab's cgroup", cgroup.kill_all()),
        Err(error) => removal.problems.push(format!("find the lab's cgroup: {error}")),
    }
    removal.end_shims();
    progress.step("agents and API");
    removal.end_all_recorded();
    let ids = removal.ids(&namespaces);
    removal.end_own_residents(&ids);
    progress.step("pins and mounts");
    removal.unmount();
    progress.step("namespaces");
    for name in &namespaces {
        let removed = apply::remove_namespace(name).map_err(anyhow::Error::new);
        removal.note(&format!("remove namespace {name}"), removed.map(drop));
    }
    removal.tell_who_stays(&ids);
    progress.step("cgroups and folders");
    if let Ok(cgroup) = &cgroup {
        removal.note(&format!("remove {}", cgroup.root().display()), cgroup.remove());
    }
    removal.folder();
    drop(lock);
    removal.note("give back /run/netns", shared::release());

    if removal.problems.is_empty() {
        progress.finish();
        Ok(true)
    } else {
        progress.fail();
        bail!("lab {lab} is not removed whole:\n  {}", removal.problems.join("\n  "))
    }
}

/// A removal under way, with what went wrong so far.
struct Removal {
    folders: Folders,
    problems: Vec<String>,
}

impl Removal {
    fn note<E: Into<anyhow::Error>>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            self.problems.push(format!("{what}: {:#}", error.into()));
        }
    }

    /// By its command line, not by its file: one that was started a moment ago has none yet.
    fn end_supervisors(&mut self, lab: &LabName) {
        let wanted: [&[u8]; 4] = [b"lab", b"supervise", b"--name", lab.as_str().as_bytes()];
        for pid in own_processes(|arguments| arguments == wanted) {
            if let Some(process) = ProcessId::of(pid).ok().and_then(|id| id.open()) {
                self.note("end the supervisor", process.end(Signal::TERM, SUPERVISOR_GRACE));
            }
        }
    }

    /// A shim ends by itself once its container was killed; its files are below the lab's folder.
    fn end_shims(&mut self) {
        for pid in shims_of(self.folders.root()) {
            if let Some(process) = ProcessId::of(pid).ok().and_then(|id| id.open()) {
                let ended = process
                    .wait_for_end(GRACE)
                    .and_then(|ended| if ended { Ok(()) } else { process.end(Signal::KILL, GRACE) });
                self.note(&format!("end shim {pid}"), ended);
            }
        }
    }

    /// Every process that has a file: all are told first, then all are waited for.
    fn end_all_recorded(&mut self) {
        let records = match fs::read_dir(self.folders.processes()) {
            Ok(records) => records,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.note("list the lab's processes", Err(error)),
        };
        let running: Vec<_> = records
            .flatten()
            .filter_map(|record| Some((record.file_name(), ProcessId::recorded(&record.path())?.open()?)))
            .collect();
        for (_, process) in &running {
            let _ = process.signal(Signal::TERM); // told again below
        }
        for (name, process) in running {
            self.note(&format!("end {}", name.to_string_lossy()), process.end(Signal::TERM, GRACE));
        }
    }

    fn ids(&mut self, namespaces: &[String]) -> BTreeSet<NetNsId> {
        let open = |name: &String| network_namespace::NetNs::open(apply::namespace_path(name)).ok()?.id().ok();
        let mut ids: BTreeSet<_> = namespaces.iter().filter_map(open).collect();
        // Pods' namespaces have their names below the lab's folder.
        let points = mounts::below(self.folders.root()).unwrap_or_default();
        ids.extend(points.iter().filter_map(|point| network_namespace::NetNs::open(point).ok()?.id().ok()));
        ids
    }

    /// An agent or API that was started in the moment its supervisor died has no file: it is known by living in a
    /// namespace of this lab and being of this program.
    fn end_own_residents(&mut self, ids: &BTreeSet<NetNsId>) {
        for resident in residents(ids).into_iter().filter(|resident| is_malla(resident.pid)) {
            if let Some(process) = ProcessId::of(resident.pid).ok().and_then(|id| id.open()) {
                self.note(&format!("end process {}", resident.pid), process.end(Signal::TERM, GRACE));
            }
        }
    }

    fn unmount(&mut self) {
        let bpf = self.folders.bpf();
        self.note(&format!("unmount {}", bpf.display()), pins::unmount_bpffs(&bpf));
        match mounts::below(self.folders.root()) {
            Ok(points) => {
                for point in points {
                    self.note(&format!("unmount {}", point.display()), mounts::detach(&point));
                }
            }
            Err(error) => self.note("list mounts", Err(error)),
        }
    }

    /// Other people's processes are not ended, but they are told of: they keep a namespace alive without its wires.
    fn tell_who_stays(&mut self, ids: &BTreeSet<NetNsId>) {
        // Those that were killed a moment ago may still be on their way out.
        for _ in 0..STAY_POLLS {
            if residents(ids).is_empty() {
                return;
            }
            std::thread::sleep(STAY_POLL);
        }
        for resident in residents(ids) {
            self.problems.push(format!(
                "process {} ({}) still lives in a namespace of the lab: end it, and the namespace is gone",
                resident.pid, resident.command
            ));
        }
    }

    fn folder(&mut self) {
        // Never across a mount that could not be undone: somebody's files may be behind it.
        match mounts::below(self.folders.root()) {
            Ok(points) if points.is_empty() => {
                let removed = match fs::remove_dir_all(self.folders.root()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                };
                self.note(&format!("remove {}", self.folders.root().display()), removed);
            }
            _ => {
                self.problems.push(format!("{} stays: something is still mounted in it", self.folders.root().display()))
            }
        }
    }
}

/// Processes `malla container-shim <folder>` with a folder below `root`.
fn shims_of(root: &Path) -> Vec<i32> {
    own_processes(|arguments| match arguments {
        [b"container-shim", folder, ..] => Path::new(OsStr::from_bytes(folder)).starts_with(root),
        _ => false,
    })
}

/// Processes of this program whose arguments are `wanted`.
fn own_processes(wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<i32> {
    let is_wanted = |pid: i32| {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command_line = command_line.strip_suffix(b"\0").unwrap_or(&command_line);
        let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).skip(1).collect();
        wanted(&arguments)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_wanted(*pid) && is_malla(*pid)).collect()
}

/// Whether the process runs a program called malla. `/proc/<pid>/exe` ends in " (deleted)" after a new build.
fn is_malla(pid: i32) -> bool {
    let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(" (deleted)") == "malla"
}

/// The supervisor stops its own tasks first.
const SUPERVISOR_GRACE: Duration = Duration::from_secs(5);
/// Agents leave everything in place when they end, the API has every write on disk: neither has much to do.
const GRACE: Duration = Duration::from_secs(3);
const STAY_POLL: Duration = Duration::from_millis(20);
const STAY_POLLS: u32 = 50;
