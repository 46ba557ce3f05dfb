//! What has to be on the machine, for what, and how one sees that it is there.

use crate::{command, repository};
use std::path::PathBuf;

/// What the machine is wanted for; each includes what stands above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Purpose {
    /// Compile everything
    Build,
    /// `make demo`
    Demo,
    /// `make test`
    Test,
    /// `make bench-…`
    Bench,
    /// Boot other kernels, and try a fresh Debian
    All,
}

/// A Debian package, with the reason it is wanted.
pub struct Package {
    pub name: &'static str,
    /// The program (or, starting with `/`, the file) whose presence shows that nothing has to be done.
    pub shows: &'static str,
    pub since: Purpose,
    pub why: &'static str,
    pub how: How,
}

/// How a package gets onto the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// `apt-get install`.
    Install,
    /// `apt-get download` and `dpkg -x` into a folder under `target/`: for packages that would start a service,
    /// push another package out, or be another version of what the machine already has.
    Unpack,
}

impl Package {
    pub fn is_there(&self) -> bool {
        match (self.how, self.shows.strip_prefix('/')) {
            (How::Install, None) => command::find(self.shows).is_some(),
            (How::Install, Some(_)) => PathBuf::from(self.shows).exists(),
            (How::Unpack, relative) => repository::unpacked().join(relative.unwrap_or(self.shows)).exists(),
        }
    }
}

/// The packages, in the order in which they are reported.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "build-essential",
        shows: "cc",
        since: Purpose::Build,
        why: "the C compiler and linker that Rust calls",
        how: How::Install,
    },
    Package {
        name: "pkg-config",
        shows: "pkg-config",
        since: Purpose::Build,
        why: "finds C libraries for build scripts",
        how: How::Install,
    },
    Package {
        name: "ca-certificates",
        shows: "/etc/ssl/certs/ca-certificates.crt",
        since: Purpose::Build,
        why: "cargo fetches crates over TLS",
        how: How::Install,
    },
    Package { name: "curl", shows: "curl", since: Purpose::Demo, why: "asks the demo's Service", how: How::Install },
    Package {
        name: "iproute2",
        shows: "ip",
        since: Purpose::Demo,
        why: "lets you look into the lab's namespaces",
        how: How::Install,
    },
    Package {
        name: "kubernetes-client",
        shows: "/usr/bin/kubectl",
        since: Purpose::Demo,
        why: "Debian's kubectl 1.20: applies manifests, and judges the API",
        how: How::Unpack,
    },
    Package {
        name: "nftables",
        shows: "nft",
        since: Purpose::Test,
        why: "shows that the machine's own rules stay as they were",
        how: How::Install,
    },
    Package {
        name: "iputils-ping",
        shows: "ping",
        since: Purpose::Test,
        why: "speaks ICMP in tests",
        how: How::Install,
    },
    Package {
        name: "procps",
        shows: "kill",
        since: Purpose::Test,
        why: "tests end the processes that they started",
        how: How::Install,
    },
    Package {
        name: "bind9-dnsutils",
        shows: "dig",
        since: Purpose::Test,
        why: "judges the lab's DNS",
        how: How::Install,
    },
    Package {
        name: "tcpdump",
        shows: "tcpdump",
        since: Purpose::Test,
        why: "sees packets as the wire has them",
        how: How::Install,
    },
    Package {
        name: "tshark",
        shows: "tshark",
        since: Purpose::Test,
        why: "judges captures with comments; 127 MB with what it needs",
        how: How::Install,
    },
    Package {
        name: "wrk",
        shows: "wrk",
        since: Purpose::Test,
        why: "HTTP load while Pods come and go",
        how: How::Install,
    },
    Package {
        name: "iperf3",
        shows: "iperf3",
        since: Purpose::Test,
        why: "TCP load through Services by a program of others",
        how: How::Install,
    },
    Package {
        name: "socat",
        shows: "socat",
        since: Purpose::Test,
        why: "TCP and datagrams through Services by a program of others",
        how: How::Install,
    },
    Package {
        name: "nginx",
        shows: "/usr/sbin/nginx",
        since: Purpose::Test,
        why: "a web server of others behind Services",
        how: How::Unpack,
    },
    Package {
        name: "prometheus",
        shows: "/usr/bin/promtool",
        since: Purpose::Test,
        why: "judges metrics, alert rules and the dashboard's questions",
        how: How::Unpack,
    },
    Package {
        name: "busybox-static",
        shows: "/bin/busybox",
        since: Purpose::Test,
        why: "a container image and a VM's user space in one file",
        how: How::Unpack,
    },
    Package {
        name: "containerd",
        shows: "/usr/bin/containerd",
        since: Purpose::Test,
        why: "a real runtime that calls malla-cni",
        how: How::Unpack,
    },
    Package {
        name: "runc",
        shows: "/usr/sbin/runc",
        since: Purpose::Test,
        why: "starts containerd's containers",
        how: How::Unpack,
    },
    Package {
        name: "libseccomp2",
        shows: "/usr/share/doc/libseccomp2",
        since: Purpose::Test,
        why: "runc is linked to it",
        how: How::Install,
    },
    Package {
        name: "iptables",
        shows: "iptables-legacy-restore",
        since: Purpose::Bench,
        why: "rules of kube-proxy's shape to measure beside Malla",
        how: How::Install,
    },
    Package {
        name: "qemu-system-x86",
        shows: "qemu-system-x86_64",
        since: Purpose::All,
        why: "boots other kernels",
        how: How::Install,
    },
    Package {
        name: "xz-utils",
        shows: "xz",
        since: Purpose::All,
        why: "unpacks a kernel's modules",
        how: How::Install,
    },
    Package {
        name: "debootstrap",
        shows: "debootstrap",
        since: Purpose::All,
        why: "makes a fresh Debian 12 to try the demo in",
        how: How::Install,
    },
    Package {
        name: "git",
        shows: "git",
        since: Purpose::All,
        why: "makes a clean clone to try the demo in",
        how: How::Install,
    },
];

/// The version of bpf-linker that links with the LLVM inside our rustc; newer ones want an LLVM of their own.
pub const BPF_LINKER: &str = "0.10.4";

/// The host target of the static CNI plugin.
pub const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";
