//! The load: one client, one connection or request after the other, so that what is measured is the path.
//!
//! The client ends every connection by a reset. Otherwise the server would keep its side for a minute (TIME-WAIT), and when
//! another way came to the same server from the same port, but by another destination address, the new SYN's sequence number and
//! timestamp would look old to it half of the time (they count from a point of their own per pair of addresses,
//! `net/core/secure_seq.c`): the server answers with an acknowledgement of the old connection, and the client tries again only
//! after two ticks (`tcp_rcv_synsent_state_process`). That was 8 to 12 ms for one connection in ten, whoever translated.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What one round showed.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sample {
    /// Connections per second: connect, one byte there and back, close.
    pub connections_per_second: f64,
    /// From connect to the answer's byte, ns.
    pub connection_p50: u64,
    pub connection_p99: u64,
    /// One byte there and back on an open connection, ns.
    pub request_p50: u64,
    pub request_p99: u64,
}

/// What is asked.
const ASK: u8 = b'+';

/// Answers every byte until the client closes; one thread per port, for there is one client.
/// Ends when the program does.
pub fn serve(listener: TcpListener, place: Place) {
    std::thread::spawn(move || {
        pin(if place == Place::TwoCpus { SERVER_CPU } else { CLIENT_CPU });
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                if stream.write_all(&byte).is_err() {
                    break;
                }
            }
        }
    });
}

/// Where client and server run: where the scheduler puts them is not what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the same CPU: what is measured is the path and nothing else.
    OneCpu,
    /// On a CPU each, as most servers are. Every packet then wakes a CPU that has gone idle, which takes several times what the
    /// path takes (in a virtual machine, an exit and an interrupt), and differs from run to run by more than paths do.
    TwoCpus,
}

pub const CLIENT_CPU: usize = 0;
pub const SERVER_CPU: usize = 1;

/// Keeps the thread on a CPU; a machine with one has no choice.
pub fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
        .with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    // Its end is a reset.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

/// Measures for about `time`, half of it each way; the calling thread is in the client's namespace.
pub fn measure(address: SocketAddr, time: Duration) -> Result<Sample> {
    pin(CLIENT_CPU);
    let mut connections = Vec::with_capacity(100_000);
    let begin = Instant::now();
    while begin.elapsed() < time / 2 {
        let start = Instant::now();
        let mut stream = connect(address)?;
        let mut byte = [ASK];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte).with_context(|| format!("an answer from {address}"))?;
        connections.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    let connections_per_second = connections.len() as f64 / begin.elapsed().as_secs_f64();
    let mut requests = Vec::with_capacity(100_000);
    let mut stream = connect(address)?;
    let begin = Instant::now();
    while begin.elapsed() < time / 2 {
        let start = Instant::now();
        let mut byte = [ASK];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        requests.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    Ok(Sample {
        connections_per_second,
        connection_p50: percentile(&mut connections, 50),
        connection_p99: percentile(&mut connections, 99),
        request_p50: percentile(&mut requests, 50),
        request_p99: percentile(&mut requests, 99),
    })
}

/// 0 of nothing.
pub fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}
