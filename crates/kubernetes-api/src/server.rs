//! Listeners, TLS and connections.

use crate::api::Api;
use crate::handlers::{Caller, handle};
use crate::pki::Pki;
use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How long a client may take to finish the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's headers; also how long HTTP/1.1 connections may idle. Longer than
/// clients keep theirs, so that they close first and never write into a connection that is just going.
const HEADERS: Duration = Duration::from_secs(300);
/// Connections waiting to be accepted.
const BACKLOG: u32 = 1024;

/// Binds an address. An IPv6 listener takes IPv6 only, so that `0.0.0.0` and `[::]` can stand side by side.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bind = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if address.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().with_context(|| format!("listen on {address}"))
}

/// TLS with the server's certificate; client certificates are asked for, and must be the authority's when given.
/// Whether one is needed depends on the path.
pub fn tls(pki: &Pki) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = |path: std::path::PathBuf| -> Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(&path).with_context(|| format!("read {}", path.display()))?;
        read.collect::<Result<_, _>>().with_context(|| format!("parse {}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pki.ca())? {
        roots.add(certificate).context("trust the authority")?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let key = PrivateKeyDer::from_pem_file(pki.server_key())
        .with_context(|| format!("read {}", pki.server_key().display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(pki.server())?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Accepts connections for ever.
pub async fn serve(api: Arc<Api>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(Arc::clone(&api), acceptor.clone(), stream, peer));
            }
            Err(error) => {
                // Out of descriptors, mostly: others may close theirs meanwhile.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(api: Arc<Api>, acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = Caller { user: certificate.map(common_name) };
    let service = service_fn(move |request| {
        let (api, caller) = (Arc::clone(&api), caller.clone());
        async move { Ok::<_, std::convert::Infallible>(handle(api, caller, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "connection");
    }
}

/// The authority signed it, so it says something; a name that cannot be read is still somebody.
fn common_name(certificate: &CertificateDer<'_>) -> String {
    use x509_parser::prelude::FromDer;
    x509_parser::certificate::X509Certificate::from_der(certificate)
        .ok()
        .and_then(|(_, parsed)| {
            parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
        })
        .unwrap_or_else(|| "unnamed".into())
}
