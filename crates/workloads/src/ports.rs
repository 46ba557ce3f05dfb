//! Which ports a server opens, and what it speaks there.

use std::str::FromStr;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// HTTP/1.1 only.
    Http,
    /// Every byte comes back.
    TcpEcho,
    /// HTTP when the first bytes are an HTTP method, else every byte comes back.
    Tcp,
    /// Every datagram comes back.
    UdpEcho,
}

/// One port to open, on all addresses of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Port {
    pub number: u16,
    pub speaks: Speaks,
}

/// A list as in `8080/TCP,9090/UDP`; the protocols are `HTTP`, `ECHO` (plain TCP), `TCP` (either) and `UDP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(pub Vec<Port>);

/// Why a list of ports could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParsePortsError {
    #[error("port {0:?} is not a number between 1 and 65535")]
    Number(String),
    #[error("protocol {0:?} is none of HTTP, ECHO, TCP, UDP")]
    Protocol(String),
    #[error("the list of ports is empty")]
    Empty,
}

impl Ports {
    /// What `malla.dev/echo` opens when nobody says otherwise.
    #[must_use]
    pub fn echo_default() -> Self {
        Self(vec![
            Port { number: 8080, speaks: Speaks::Http },
            Port { number: 8081, speaks: Speaks::TcpEcho },
            Port { number: 8080, speaks: Speaks::UdpEcho },
        ])
    }

    /// What `localhost/spink` opens: the port of the Deployment it stands for.
    #[must_use]
    pub fn spink_default() -> Self {
        Self(vec![Port { number: 8080, speaks: Speaks::Http }])
    }
}

impl FromStr for Ports {
    type Err = ParsePortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ports: Vec<Port> =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_port).collect::<Result<_, _>>()?;
        if ports.is_empty() { Err(ParsePortsError::Empty) } else { Ok(Self(ports)) }
    }
}

fn parse_port(text: &str) -> Result<Port, ParsePortsError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    let number = match number.trim().parse() {
        Ok(0) | Err(_) => return Err(ParsePortsError::Number(number.into())),
        Ok(number) => number,
    };
    let speaks = match protocol.trim().to_ascii_uppercase().as_str() {
        "HTTP" => Speaks::Http,
        "ECHO" => Speaks::TcpEcho,
        "TCP" => Speaks::Tcp,
        "UDP" => Speaks::UdpEcho,
        _ => return Err(ParsePortsError::Protocol(protocol.into())),
    };
    Ok(Port { number, speaks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_pod_declares() {
        let ports: Ports = "8080/TCP, 9090/UDP,7/echo,80/HTTP,5".parse().unwrap();
        let expect =
            [(8080, Speaks::Tcp), (9090, Speaks::UdpEcho), (7, Speaks::TcpEcho), (80, Speaks::Http), (5, Speaks::Tcp)];
        assert_eq!(ports.0, expect.map(|(number, speaks)| Port { number, speaks }));
    }

    #[test]
    fn refuses_what_cannot_be_opened() {
        assert_eq!("0/TCP".parse::<Ports>(), Err(ParsePortsError::Number("0".into())));
        assert_eq!("70000".parse::<Ports>(), Err(ParsePortsError::Number("70000".into())));
        assert_eq!("80/SCTP".parse::<Ports>(), Err(ParsePortsError::Protocol("SCTP".into())));
        assert_eq!(" , ".parse::<Ports>(), Err(ParsePortsError::Empty));
    }
}
