//! The ways to a node or a relay, for those who ask.

mod anybody;
mod status;

pub use crate::words;
pub use status::status_words;

use crate::secret_file;
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

/// Who asks, and whom it believes. All PEM.
#[derive(Clone)]
pub struct Credentials {
    /// Whose word is taken for who answers.
    pub believed: Believed,
    /// The own certificate and its key; without one only those are asked who answer anybody.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whose certificates prove who a server is.
#[derive(Clone)]
pub enum Believed {
    /// Those that these authorities have signed, for the name that is asked for. PEM.
    Authorities(Vec<u8>),
    /// Everybody's, for any name: what is said can't be read on the way, but it may be said to somebody else.
    Anybody,
}

impl Credentials {
    /// From a folder that looks like a mounted Secret: `tls.crt`, `tls.key`, `ca.crt`.
    ///
    /// # Errors
    /// When one of them can't be read; the error names it.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let own = Some((secret_file(folder, "tls.crt")?, secret_file(folder, "tls.key")?));
        Ok(Self { believed: Believed::Authorities(secret_file(folder, "ca.crt")?), own })
    }
}

impl std::fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own.is_some()).finish_non_exhaustive()
    }
}

/// A channel to the socket at this path.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> Result<Channel, Error> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // HTTP/2 wants an authority; a unix socket has none.
    watched(Endpoint::from_static("http://localhost")).connect_with_connector(connector).await
}

/// A channel to `10.0.0.1:4244` over TLS, if the server there is `server_name`.
///
/// # Errors
/// When nobody answers there, or somebody else; when the certificates can't be read.
pub async fn connect_tls(address: &str, server_name: &str, credentials: &Credentials) -> Result<Channel, Error> {
    let Believed::Authorities(authorities) = &credentials.believed else {
        // To `tonic` it is in clear: what is between is TLS already.
        let endpoint = watched(Endpoint::from_shared(format!("http://{address}"))?);
        return anybody::connect(endpoint, address, server_name, credentials.own.as_ref()).await;
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)).domain_name(server_name);
    if let Some((certificate, key)) = &credentials.own {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    watched(Endpoint::from_shared(format!("https://{address}"))?).tls_config(tls)?.connect().await
}

/// A channel to `10.0.0.1:4244` in clear.
///
/// # Errors
/// When nobody answers there.
pub async fn connect_in_clear(address: &str) -> Result<Channel, Error> {
    watched(Endpoint::from_shared(format!("http://{address}"))?).connect().await
}

/// A machine that has gone, or a process that stands still, says nothing: it is asked now and then. What it tells and nobody takes is
/// left with it.
fn watched(endpoint: Endpoint) -> Endpoint {
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE).keep_alive_while_idle(true)
}

const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Bytes that a server may send ahead; a relay has a thousand of them. The default, 2 MB, is for rounds of a second.
const WINDOW: u32 = 256 << 10;
