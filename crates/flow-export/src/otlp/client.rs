//! Calls the receiver.

use super::messages::{PartialSuccess, Request, Response};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::{InvalidUri, PathAndQuery, Uri};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

/// A connection to a receiver, made when it is needed and again when it breaks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Channel);

/// Reads `http://HOST:PORT` or `https://HOST:PORT`.
///
/// # Errors
/// In words: it is something else.
pub fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error: InvalidUri| error.to_string())?;
    match (uri.scheme_str(), uri.path()) {
        (Some("http" | "https"), "" | "/") if uri.query().is_none() => Ok(text.to_owned()),
        _ => Err("it is http://HOST:PORT or https://HOST:PORT".to_owned()),
    }
}

/// Whether the address asks for TLS.
#[must_use]
pub fn is_tls(address: &str) -> bool {
    address.starts_with("https:")
}

impl Client {
    /// For an [`address`]; by TLS its certificate is signed by one of `authorities` (PEM). Nothing is sent yet. Inside of a runtime.
    ///
    /// # Errors
    /// The address or the authorities make no sense.
    pub fn new(address: &str, authorities: Option<&[u8]>) -> Result<Self, Error> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())?.connect_timeout(CONNECT).timeout(PATIENCE);
        if let Some(authorities) = authorities {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(Self(endpoint.connect_lazy()))
    }

    /// Sends it; answers with what the receiver did not take of it.
    ///
    /// # Errors
    /// The receiver's, or the connection's: see [`super::pause`].
    pub async fn send(&self, request: Request) -> Result<PartialSuccess, Status> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(flow_api::words(&error)))?;
        let codec = ProstCodec::<Request, Response>::default();
        let answer = grpc.unary(request.into_request(), PathAndQuery::from_static(EXPORT), codec).await?;
        Ok(answer.into_inner().partial_success.unwrap_or_default())
    }
}

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const CONNECT: Duration = Duration::from_secs(5);
/// OTLP's own default for one request (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);
