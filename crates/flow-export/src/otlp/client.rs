//! Calls the receiver.

use super::failure::Failure;
use super::grpc::Grpc;
use super::headers::Headers;
use super::http::Http;
use super::messages::{PartialSuccess, Request};
use super::receiver::{Protocol, Receiver};
use std::time::Duration;

/// A connection to a receiver, made when it is needed, and again when it breaks or nobody answers.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    headers: Headers,
}

#[derive(Clone, Debug)]
enum Transport {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

impl Client {
    /// Nothing is sent yet. Inside of a runtime.
    ///
    /// # Errors
    /// In words: the address, the authorities or the identity make no sense.
    pub fn new(receiver: &Receiver) -> Result<Self, String> {
        let transport = match receiver.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(receiver)?)),
            Protocol::Http => Transport::Http(Box::new(Http::new(receiver)?)),
        };
        Ok(Self { transport, headers: receiver.headers.clone() })
    }

    /// Sends it; answers with what the receiver did not take of it.
    ///
    /// # Errors
    /// The receiver's, or the connection's.
    pub async fn send(&mut self, request: &Request) -> Result<PartialSuccess, Failure> {
        let asked = async {
            match &self.transport {
                Transport::Grpc(grpc) => grpc.send(request).await,
                Transport::Http(http) => http.send(request).await,
            }
        };
        // Of all of it: the connection, its handshake of TLS, and an answer that begins and does not end.
        let answered = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            if let Transport::Grpc(grpc) = &mut self.transport {
                grpc.hang_up();
            }
            Err(Failure::passing(format!("no answer within {} s", PATIENCE.as_secs())))
        });
        answered
            .map(|part| PartialSuccess { error_message: self.headers.hidden(part.error_message), ..part })
            .map_err(|failure| Failure { words: self.headers.hidden(failure.words), ..failure })
    }
}

pub const CONNECT: Duration = Duration::from_secs(5);
pub const USER_AGENT: &str = concat!("malla/", env!("CARGO_PKG_VERSION"));
/// OTLP's own default for one request (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);
