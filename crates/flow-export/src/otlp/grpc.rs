//! OTLP by gRPC: "OTLP/gRPC" of the specification, with its "Failures" and "OTLP/gRPC Throttling".

use super::client::{CONNECT, USER_AGENT};
use super::failure::{Again, Failure};
use super::messages::{PartialSuccess, Request, Response, RetryInfo, RpcStatus};
use super::receiver::{Receiver, is_tls};
use flow_api::client::status_words;
use prost::Message;
use std::error::Error;
use std::time::Duration;
use tonic::client::Grpc as Caller;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::{PathAndQuery, Uri};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// A connection, made when it is needed, and again when it breaks.
#[derive(Clone, Debug)]
pub struct Grpc {
    endpoint: Endpoint,
    channel: Channel,
    headers: MetadataMap,
    is_compressed: bool,
}

impl Grpc {
    /// Nothing is sent yet. Inside of a runtime.
    ///
    /// # Errors
    /// In words: the address, the authorities or the identity make no sense.
    pub fn new(receiver: &Receiver) -> Result<Self, String> {
        let uri: Uri = receiver.address.parse().map_err(|error| format!("{error}"))?;
        if uri.port().is_none() || !matches!(uri.path(), "" | "/") {
            return Err("by gRPC an address has a port and no path".to_owned());
        }
        let endpoint = endpoint(uri, receiver).map_err(|error| flow_api::words(&error))?;
        let channel = endpoint.connect_lazy();
        let headers = MetadataMap::from_headers(receiver.headers.map().clone());
        Ok(Self { endpoint, channel, headers, is_compressed: receiver.is_compressed })
    }

    /// Who has gone without a word is not asked again: TCP would believe in him for a quarter of an hour.
    pub fn hang_up(&mut self) {
        self.channel = self.endpoint.connect_lazy();
    }

    /// Sends it, and waits for the answer.
    ///
    /// # Errors
    /// The receiver's, or the connection's.
    pub async fn send(&self, request: &Request) -> Result<PartialSuccess, Failure> {
        let mut caller = Caller::new(self.channel.clone());
        if self.is_compressed {
            caller = caller.send_compressed(CompressionEncoding::Gzip);
        }
        caller.ready().await.map_err(|error| Failure::passing(flow_api::words(&error)))?;
        let mut request = tonic::Request::new(request.clone());
        *request.metadata_mut() = self.headers.clone();
        let codec = ProstCodec::<Request, Response>::default();
        let answer = caller.unary(request, PathAndQuery::from_static(EXPORT), codec).await;
        let answer = answer.map_err(|status| Failure { words: status_words(&status), again: again(&status) })?;
        Ok(answer.into_inner().partial_success.unwrap_or_default())
    }
}

fn endpoint(uri: Uri, receiver: &Receiver) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from(uri).connect_timeout(CONNECT).user_agent(USER_AGENT)?;
    if !is_tls(&receiver.address) {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&receiver.authorities));
    if let Some(own) = &receiver.identity {
        tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
    }
    endpoint.tls_config(tls)
}

fn again(status: &Status) -> Again {
    let asked = throttled(status);
    let may_pass = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only if the receiver says that there will be room. (A connection that breaks as too busy has a source.)
        Code::ResourceExhausted if status.source().is_none() => asked.is_some(),
        // What has a source did not come from the receiver: the connection broke.
        _ => status.source().is_some(),
    };
    match (may_pass, asked) {
        (false, _) => Again::Never,
        (true, None) => Again::Soon,
        (true, Some(asked)) => Again::After(asked),
    }
}

/// What the receiver asks for.
fn throttled(status: &Status) -> Option<Duration> {
    let told = RpcStatus::decode(status.details()).ok()?;
    let info = told.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(delay.try_into().unwrap_or_default())
}

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Any;

    fn throttle(code: Code, delay: Duration) -> Status {
        let info = RetryInfo { retry_delay: Some(delay.try_into().unwrap()) };
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
        let told = RpcStatus { details: vec![any], ..RpcStatus::default() };
        Status::with_details(code, "slow", told.encode_to_vec().into())
    }

    #[test]
    fn it_is_tried_again_where_the_specification_says_so_and_nowhere_else() {
        let retried: Vec<i32> =
            (0..=16).filter(|code| again(&Status::new(Code::from(*code), "")) == Again::Soon).collect();
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        let some = Duration::from_secs(7);
        assert_eq!(again(&throttle(Code::ResourceExhausted, some)), Again::After(some));
        assert_eq!(again(&throttle(Code::Unavailable, Duration::ZERO)), Again::After(Duration::ZERO));
        assert_eq!(again(&throttle(Code::InvalidArgument, some)), Again::Never);
        let nonsense = Status::with_details(Code::ResourceExhausted, "", vec![0xff; 9].into());
        assert_eq!(again(&nonsense), Again::Never);
    }
}
