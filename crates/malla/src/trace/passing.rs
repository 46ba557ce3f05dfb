//! Following what somebody else sends: one end of a flow, or a whole five-tuple, for a while.

use super::follow::follow;
use super::journey::Gathered;
use crate::agents::Selection;
use agent::events::End;
use anyhow::Context;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// A flow, as `udp,10.244.1.5:40000,10.96.0.10:53`: protocol, who asks, whom. Without the last, every flow of that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    client: End,
    server: Option<SocketAddr>,
}

impl FromStr for Tuple {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ',');
        let (protocol, client) = (parts.next().unwrap_or_default(), parts.next());
        let client = client.ok_or_else(|| format!("{text:?} is no PROTOCOL,ADDRESS:PORT[,ADDRESS:PORT]"))?;
        let client: End = format!("{protocol},{client}").parse()?;
        let server =
            parts.next().map(|server| server.parse().map_err(|_| format!("{server:?} is no address with a port")));
        let server: Option<SocketAddr> = server.transpose()?;
        if server.is_some_and(|server| server.is_ipv4() != client.address.is_ipv4()) {
            return Err(format!("{text:?} has addresses of two families"));
        }
        Ok(Self { client, server })
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client)?;
        self.server.map_or(Ok(()), |server| write!(f, ",{server}"))
    }
}

/// Follows it for so long, or until Ctrl-C.
///
/// # Errors
/// When no node can follow.
pub async fn run(selection: &Selection, tuple: Tuple, time: Duration) -> anyhow::Result<Gathered> {
    let followed = follow(&selection.agents()?, tuple.client).await?;
    eprintln!("malla: following {tuple} for {} s; Ctrl-C ends it earlier", time.as_secs());
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C")?,
    }
    Ok(Gathered {
        who: tuple.to_string(),
        client: Some(tuple.client.address),
        server: tuple.server,
        account: followed.end().await,
        ..Gathered::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_read_as_they_are_written_and_nothing_else_is() {
        for text in ["tcp,10.0.0.1:40000", "udp,10.0.0.1:4,10.96.0.10:53", "udp,[fd00::1]:4,[fd00::2]:53"] {
            assert_eq!(text.parse::<Tuple>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("10.0.0.1:4", "is no PROTOCOL"),
            ("icmp,10.0.0.1:4", "neither tcp nor udp"),
            ("tcp,10.0.0.1", "no address with a port"),
            ("tcp,10.0.0.1:4,10.0.0.2", "no address with a port"),
            ("tcp,10.0.0.1:4,[fd00::2]:53", "two families"),
        ] {
            let error = text.parse::<Tuple>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
