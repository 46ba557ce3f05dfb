//! One check, from the node's network namespace as kubelet makes it: this is host-to-Pod traffic.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container as Spec, ExecAction, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use network_namespace::NetNs;
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

use crate::{exec, files::AttemptDir, find};

/// Checks one container.
#[derive(Debug)]
pub struct Checker {
    pub node_netns: NetNs,
    pub pod_ip: Option<IpAddr>,
    pub container: String,
    pub dir: AttemptDir,
    pub ports: BTreeMap<String, u16>,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure(String),
}

impl Checker {
    /// The named ports of a container.
    #[must_use]
    pub fn named_ports(spec: &Spec) -> BTreeMap<String, u16> {
        let ports = spec.ports.iter().flatten();
        ports.filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?))).collect()
    }

    /// Does what the probe says.
    pub async fn check(&self, probe: &Probe, limit: Duration) -> Outcome {
        let result = if let Some(action) = &probe.http_get {
            self.http_get(action, limit).await
        } else if let Some(action) = &probe.tcp_socket {
            match self.address(action.host.as_deref(), &action.port).await {
                Ok(address) => self.connect(address, limit).await.map(drop),
                Err(error) => Err(error),
            }
        } else if let Some(action) = &probe.exec {
            self.exec(action, limit).await
        } else if probe.grpc.is_some() {
            Err("gRPC probes are not supported by the lab's Pod runner".into())
        } else {
            Err("the probe has no handler".into())
        };
        result.map_or_else(Outcome::Failure, |()| Outcome::Success)
    }

    /// GET; 200 to 399 is success.
    pub async fn http_get(&self, action: &HTTPGetAction, limit: Duration) -> Result<(), String> {
        if action.scheme.as_deref().is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http")) {
            return Err("HTTPS probes are not supported by the lab's Pod runner".into());
        }
        let address = self.address(action.host.as_deref(), &action.port).await?;
        let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = format!("http://{address}{path}");
        let mut request = Request::get(path).header("host", address.to_string()).header("connection", "close");
        let headers = action.http_headers.iter().flatten();
        for header in headers {
            request = request.header(header.name.as_str(), header.value.as_str());
        }
        if request.headers_ref().is_none_or(|headers| !headers.contains_key("user-agent")) {
            request = request.header("user-agent", "kube-probe/1.33");
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("build request: {error}"))?;
        let get = async {
            let stream = self.connect(address, limit).await?;
            let failed = |error: hyper::Error| format!("Get {url:?}: {error}");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            // The body is read so that the server is not reset in the middle of its answer.
            let _ = Limited::new(response.into_body(), LONGEST_BODY).collect().await;
            if status.is_success() || status.is_redirection() {
                Ok(())
            } else {
                Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
            }
        };
        timeout(limit, get).await.unwrap_or_else(|_| Err(format!("Get {url:?}: context deadline exceeded")))
    }

    /// Runs the command in the container; exit code 0 is success.
    pub async fn exec(&self, action: &ExecAction, limit: Duration) -> Result<(), String> {
        let argv = action.command.clone().unwrap_or_default();
        let target = find::target_in(&self.dir, &self.container)
            .ok_or_else(|| format!("container {} is not running", self.container))?;
        match exec::capture(&target, &argv, limit).await {
            Ok(Some(captured)) if captured.exit_code == 0 => Ok(()),
            Ok(Some(captured)) => Err(captured.output),
            Ok(None) => Err(format!("command {argv:?} timed out")),
            Err(error) => Err(crate::chain(&error)),
        }
    }

    async fn address(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
        let port = match port {
            IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("port {number} is out of range"))?,
            IntOrString::String(name) => {
                let port = self.ports.get(name).copied().or_else(|| name.parse().ok());
                port.ok_or_else(|| format!("couldn't find port: {name:?}"))?
            }
        };
        match (host.filter(|host| !host.is_empty()), self.pod_ip) {
            (None, Some(ip)) => Ok(SocketAddr::new(ip, port)),
            (None, None) => Err("the Pod has no address".into()),
            (Some(host), _) => {
                let mut found = lookup_host((host, port)).await.map_err(|error| format!("look up {host}: {error}"))?;
                found.next().ok_or_else(|| format!("{host} has no address"))
            }
        }
    }

    async fn connect(&self, address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
        let failed = |error: io::Error| format!("dial tcp {address}: {error}");
        let open = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        // The socket is made in the node's namespace, by a thread of its own, and used from here.
        let runtime = tokio::runtime::Handle::current();
        let socket = self.node_netns.run(|| {
            let _inside = runtime.enter();
            open()
        });
        let socket = socket.map_err(|error| crate::chain(&error))?.map_err(failed)?;
        match timeout(limit, socket.connect(address)).await {
            Ok(stream) => stream.map_err(failed),
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        }
    }
}

/// As kubelet reads of a probe's answer.
const LONGEST_BODY: usize = 10 * 1024;
