//! A machine that can't run Malla is told so in one line, before anything is installed or built. Each test makes such a
//! machine out of this one, in namespaces of its own.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

/// Runs a shell script in fresh mount and network namespaces, with an empty `/run`, so that a lab that is up plays no part.
fn on_a_machine_where(script: &str) -> Output {
    let script = format!("set -e; mount -t tmpfs none /run; ip link set lo up; {script}");
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        // A run that is not refused would build, and without cargo on the PATH it does not come far.
        "timeout",
        "20",
        "sh",
        "-c",
        &script,
    ]);
    unshare
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("XTASK", env!("CARGO_BIN_EXE_xtask"))
        .output()
        .expect("start unshare: these tests need root")
}

fn is_refused(script: &str, because: &str) {
    let output = on_a_machine_where(script);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "it went on: {said}{errors}");
    assert!(errors.contains(because), "said `{errors}`");
    assert_eq!(errors.lines().count(), 1, "more than a line: {errors}");
    assert!(said.is_empty(), "something was done before: {said}");
}

#[test]
fn not_root() {
    // Through a descriptor: the checkout may lie where only root can look.
    is_refused("exec 9<$XTASK; setpriv --reuid=65534 --clear-groups /proc/self/fd/9 demo", "needs root");
}

#[test]
fn no_btf() {
    is_refused("mount -t tmpfs none /sys/kernel/btf; $XTASK demo", "this kernel has no BTF");
}

#[test]
fn kernel_too_old() {
    is_refused("setarch --uname-2.6 $XTASK demo", "is too old: Malla needs Linux 6.1 or newer");
}

#[test]
fn port_taken() {
    is_refused(
        "../target/debian/bin/busybox nc -l -p 30080 >/dev/null 2>&1 & sleep 0.5; $XTASK demo",
        "port 30080 on this machine is taken",
    );
}

#[test]
fn no_cgroup2() {
    is_refused(
        "for at in $(sed -n 's/^\\([^ ]* \\)\\{4\\}\\([^ ]*\\) .* - cgroup2 .*/\\2/p' /proc/self/mountinfo); do umount -l $at; done; $XTASK demo",
        "cgroup2 is not mounted",
    );
}
