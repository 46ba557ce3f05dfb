//! A server from its first listener to its last connection.

use std::{env, fs::OpenOptions, io::Write, time::Duration};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    http_server,
    lifecycle::{Lifecycle, Phase, QUIET},
    listen,
    pages::Site,
    ports::{Ports, Speaks},
    tcp_echo, udp_echo,
};

/// Serves `ports` until told to end.
pub async fn run(site: Site, ports: &Ports) -> anyhow::Result<()> {
    // One per process and for its whole life: connections then need no reference count.
    let site: &'static Site = Box::leak(Box::new(site));
    let lifecycle = Lifecycle::default();
    // Handlers first: the signal may come as soon as somebody knows that we are there.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut removed = signal(SignalKind::user_defined2()).context("listen for SIGUSR2")?;

    for port in &ports.0 {
        let number = port.number;
        match port.speaks {
            Speaks::UdpEcho => {
                let socket = listen::udp(number).with_context(|| format!("open UDP port {number}"))?;
                let (Site::Echo(identity) | Site::Spink(identity)) = site;
                tokio::spawn(udp_echo::serve(socket, identity, lifecycle.clone()));
            }
            speaks => {
                let listener = listen::tcp(number).with_context(|| format!("open TCP port {number}"))?;
                tokio::spawn(accept(listener, speaks, site, lifecycle.clone()));
            }
        }
    }
    announce_ready().context("tell the Pod runner that all ports are open")?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => lifecycle.advance(Phase::Leaving),
        _ = removed.recv() => lifecycle.advance(Phase::Leaving),
    }
    lifecycle.advance(Phase::Draining);
    let deadline = match grace() {
        Some(grace) => Instant::now() + grace,
        // Nobody will tell us when the endpoint is gone: a quiet moment has to do.
        None => {
            lifecycle.advance(Phase::Leaving);
            Instant::now() + GRACE_OUTSIDE_A_POD
        }
    };
    let drained = async {
        if lifecycle.phase() < Phase::Leaving {
            removed.recv().await;
            lifecycle.advance(Phase::Leaving);
        }
        // The quiet is counted from here: a client may be between two requests.
        lifecycle.touch();
        while !lifecycle.is_quiet(QUIET) {
            sleep(QUIET_CHECK).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = sleep_until(deadline) => tracing::warn!("the grace period ends before the last connection"),
    }
    Ok(())
}

async fn accept(listener: TcpListener, speaks: Speaks, site: &'static Site, lifecycle: Lifecycle) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                lifecycle.touch();
                let lifecycle = lifecycle.clone();
                tokio::spawn(async move {
                    if speaks == Speaks::Http || (speaks == Speaks::Tcp && begins_like_http(&stream).await) {
                        http_server::serve(stream, peer, site, lifecycle).await;
                    } else if let Err(error) = tcp_echo::serve(stream, lifecycle).await {
                        tracing::debug!(%peer, %error, "echo connection ended early");
                    }
                });
            }
            // Out of descriptors, or a connection that died in the queue: the next one may be fine.
            Err(error) => {
                tracing::warn!(%error, "accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Looks at the first bytes without taking them.
async fn begins_like_http(stream: &TcpStream) -> bool {
    let looks = async {
        let mut first = [0u8; 4];
        loop {
            let length = stream.peek(&mut first).await.unwrap_or(0);
            if length == first.len() || length == 0 {
                return METHODS.contains(&&first);
            }
            if !METHODS.iter().any(|method| method.starts_with(&first[..length])) {
                return false;
            }
            // The rest of the word is on its way; `peek` would return at once with what is already there.
            sleep(PEEK_PAUSE).await;
        }
    };
    timeout(FIRST_BYTES, looks).await.unwrap_or(false)
}

/// Writes to the descriptor `MALLA_READY_FD` or creates the file `MALLA_READY_FILE`, whichever is set.
pub(crate) fn announce_ready() -> anyhow::Result<()> {
    let path = match (env::var("MALLA_READY_FD"), env::var_os("MALLA_READY_FILE")) {
        (Ok(fd), _) => format!("/proc/self/fd/{}", fd.parse::<u32>().context("MALLA_READY_FD is not a number")?).into(),
        (Err(_), Some(path)) => path,
        (Err(_), None) => return Ok(()),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    file.write_all(b"ready\n").with_context(|| format!("write {}", path.display()))
}

/// How long after SIGTERM the process may live: a little less than the Pod's grace period, so that it ends by itself
/// rather than by SIGKILL, which would reset what is open.
fn grace() -> Option<Duration> {
    let seconds: f64 = env::var("MALLA_GRACE_SECONDS").ok()?.trim().parse().ok()?;
    let grace = Duration::try_from_secs_f64(seconds).ok()?;
    Some(grace.saturating_sub((grace / 5).min(Duration::from_secs(1))))
}

/// As Kubernetes' default grace period.
const GRACE_OUTSIDE_A_POD: Duration = Duration::from_secs(30);
const QUIET_CHECK: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const PEEK_PAUSE: Duration = Duration::from_millis(2);
/// A client that has sent nothing for this long is not waiting for an HTTP answer to a request.
const FIRST_BYTES: Duration = Duration::from_secs(5);
/// First four bytes of the methods of RFC 9110 §9 and RFC 5789.
const METHODS: [&[u8; 4]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"TRAC"];
