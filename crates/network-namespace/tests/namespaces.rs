//! Real namespaces; needs root. Names hold pid and a counter, so that runs don't meet each other.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use network_namespace::{Error, NETNS_RUN_DIR, NetNs, release_directory};

/// A name under a directory, removed when dropped.
struct Named(PathBuf);

impl Named {
    fn new(directory: &Path) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(directory.join(format!("malla-nnstest-{}-{counter}", std::process::id())))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = NetNs::remove(&self.0);
    }
}

#[test]
fn a_visit_happens_inside_and_leaves_the_caller_outside() {
    let before = NetNs::current().unwrap().id().unwrap();
    let netns = NetNs::create().unwrap();
    let inside = netns.run(|| NetNs::current().unwrap().id().unwrap()).unwrap();
    assert_eq!(inside, netns.id().unwrap());
    assert_ne!(inside, before);
    assert_eq!(NetNs::current().unwrap().id().unwrap(), before);
}

#[test]
fn a_socket_made_inside_stays_inside() {
    let (one, two) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let listen = |netns: &NetNs| netns.run(|| TcpListener::bind("127.0.0.1:4242")).unwrap();
    // lo is down in both: binding works nevertheless, and the same port twice shows that they are apart.
    let _first = listen(&one).unwrap();
    let _second = listen(&two).unwrap();
    assert!(listen(&one).is_err(), "the port is taken in the first namespace");
}

#[test]
fn ip_netns_sees_a_named_namespace_and_removal_is_idempotent() {
    let run = Path::new(NETNS_RUN_DIR);
    let directory = network_namespace::prepare_directory(run).unwrap();
    let named = Named::new(run);
    let name = named.0.file_name().unwrap().to_str().unwrap().to_owned();
    let netns = NetNs::create_named(&named.0).unwrap();
    assert_eq!(NetNs::open(&named.0).unwrap().id().unwrap(), netns.id().unwrap());
    assert!(matches!(NetNs::create_named(&named.0), Err(Error::Exists { .. })));

    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(&name));
    let exec = Command::new("ip").args(["netns", "exec", &name, "readlink", "/proc/self/ns/net"]).output().unwrap();
    let expected = format!("net:[{}]", netns.id().unwrap().inode);
    assert_eq!(String::from_utf8_lossy(&exec.stdout).trim(), expected);

    NetNs::remove(&named.0).unwrap();
    assert!(!named.0.exists());
    NetNs::remove(&named.0).unwrap();
    assert!(NetNs::open(&named.0).unwrap_err().is_not_found());
    release_directory(run, directory).unwrap();
}

#[test]
fn a_file_left_by_a_crash_is_taken_over_but_foreign_files_are_not() {
    let directory = std::env::temp_dir().join(format!("malla-nnstest-dir-{}", std::process::id()));
    let done = network_namespace::prepare_directory(&directory).unwrap();
    assert!(done.created && done.mounted);
    assert!(!network_namespace::prepare_directory(&directory).unwrap().mounted, "the second time it is one already");

    let (left_over, foreign) = (Named::new(&directory), directory.join("foreign"));
    fs::write(&left_over.0, "").unwrap();
    fs::write(&foreign, "not ours").unwrap();
    assert!(matches!(NetNs::open(&foreign), Err(Error::NotANetworkNamespace { .. })));
    assert!(matches!(NetNs::create_named(&foreign), Err(Error::Exists { .. })));
    NetNs::create_named(&left_over.0).unwrap();

    assert!(!release_directory(&directory, done).unwrap(), "a namespace is still in there");
    NetNs::remove(&left_over.0).unwrap();
    fs::remove_file(&foreign).unwrap();
    assert!(release_directory(&directory, done).unwrap());
    assert!(!directory.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(directory.to_str().unwrap()), "no mount is left");
}

#[test]
fn a_process_starts_inside_by_pre_exec() {
    use std::os::unix::process::CommandExt;
    let netns = NetNs::create().unwrap();
    let id = netns.id().unwrap();
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net");
    // SAFETY: only setns runs between fork and exec, and it allocates nothing.
    unsafe { command.pre_exec(move || netns.enter_raw()) };
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("net:[{}]", id.inode));
}

#[test]
fn each_namespace_has_its_cookie() {
    let (one, other) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let cookie = one.cookie().unwrap();
    assert_eq!(one.try_clone().unwrap().cookie().unwrap(), cookie);
    assert_ne!(other.cookie().unwrap(), cookie);
    assert_ne!(NetNs::current().unwrap().cookie().unwrap(), cookie);
}

#[test]
fn errors_name_operation_and_path() {
    let error = NetNs::open("/nonexistent/netns").unwrap_err();
    assert_eq!(error.to_string(), "open network namespace /nonexistent/netns");
    assert!(error.is_not_found());
    assert!(matches!(NetNs::create_named("bare"), Err(Error::BadPath { .. })));
}
