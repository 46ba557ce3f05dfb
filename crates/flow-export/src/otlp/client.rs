//! Calls the receiver.

use super::messages::{PartialSuccess, Request, Response};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::{InvalidUri, PathAndQuery, Uri};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

/// A connection to a receiver, made when it is needed, and again when it breaks or nobody answers.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    channel: Channel,
}

/// Reads `http://HOST:PORT` or `https://HOST:PORT`.
///
/// # Errors
/// In words: it is something else.
pub fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error: InvalidUri| error.to_string())?;
    match (uri.scheme_str(), uri.path()) {
        // What stands before an @ would be told wherever the address is, and to nobody who asks for it.
        (Some("http" | "https"), "" | "/") if uri.query().is_none() && uri.port().is_some() && !text.contains('@') => {
            Ok(text.to_owned())
        }
        _ => Err("it is http://HOST:PORT or https://HOST:PORT".to_owned()),
    }
}

/// Whether the address asks for TLS.
#[must_use]
pub fn is_tls(address: &str) -> bool {
    address.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

impl Client {
    /// For an [`address`]; by TLS its certificate is signed by one of `authorities` (PEM). Nothing is sent yet. Inside of a runtime.
    ///
    /// # Errors
    /// The address or the authorities make no sense.
    pub fn new(address: &str, authorities: Option<&[u8]>) -> Result<Self, Error> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())?.connect_timeout(CONNECT);
        if let Some(authorities) = authorities {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
            endpoint = endpoint.tls_config(tls)?;
        }
        let channel = endpoint.connect_lazy();
        Ok(Self { endpoint, channel })
    }

    /// Sends it; answers with what the receiver did not take of it.
    ///
    /// # Errors
    /// The receiver's, or the connection's: see [`super::pause`].
    pub async fn send(&mut self, request: Request) -> Result<PartialSuccess, Status> {
        // Of all of it: the connection, its handshake of TLS, and an answer that begins and does not end.
        if let Ok(answered) = tokio::time::timeout(PATIENCE, ask(self.channel.clone(), request)).await {
            return answered;
        }
        // Who has gone without a word is not asked again: TCP would believe in him for a quarter of an hour.
        self.channel = self.endpoint.connect_lazy();
        Err(Status::deadline_exceeded(format!("no answer within {} s", PATIENCE.as_secs())))
    }
}

async fn ask(channel: Channel, request: Request) -> Result<PartialSuccess, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(flow_api::words(&error)))?;
    let codec = ProstCodec::<Request, Response>::default();
    let answer = grpc.unary(request.into_request(), PathAndQuery::from_static(EXPORT), codec).await?;
    Ok(answer.into_inner().partial_success.unwrap_or_default())
}

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const CONNECT: Duration = Duration::from_secs(5);
/// OTLP's own default for one request (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_tls_gets_it_however_it_is_written() {
        assert!(is_tls("HTTPS://h:4317") && is_tls("https://h:4317") && !is_tls("http://https:4317"));
    }
}
