//! Bodies in and out.

use crate::error::ApiError;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

/// Every answer's body: whole, or a stream that never fails (a watch ends instead).
pub type ApiBody = UnsyncBoxBody<Bytes, Infallible>;

/// A finished answer.
pub type Answer = Response<ApiBody>;

/// Largest request body in bytes; Kubernetes' own limit.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// An answer without a body.
pub fn empty(code: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = code;
    answer
}

/// An answer of bytes.
pub fn raw_answer(code: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = header::HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    answer
}

/// A JSON (or YAML) answer.
pub fn json_answer(code: u16, value: &Value, yaml: bool) -> Answer {
    if yaml {
        return match serde_saphyr::to_string(value) {
            Ok(text) => raw_answer(code, "application/yaml", text),
            Err(error) => json_answer(500, &ApiError::internal(error).status(), false),
        };
    }
    let mut bytes = value.to_string();
    bytes.push('\n');
    raw_answer(code, "application/json", bytes)
}

/// An answer that goes on until the stream ends.
pub fn stream_answer(content_type: &str, stream: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    use futures::StreamExt;
    let frames = stream.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    if let Ok(value) = header::HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    answer
}

/// Reads a whole request body, within the limit.
pub async fn read_body<B>(body: B) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut body = body;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::bad_request(format!("reading the body: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > MAX_BODY {
                drop(tokio::time::timeout(REST, discard(&mut body)).await);
                let message = format!("Request entity too large: limit is {MAX_BODY}");
                return Err(ApiError::new(413, "RequestEntityTooLarge", message));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// Reads the rest of a body that is too large, up to a bound: a client that still writes when the connection closes may
/// never see the answer.
async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let mut left = MAX_REST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}

/// How much of it, bytes, and for how long.
const MAX_REST: usize = 4 * MAX_BODY;
const REST: Duration = Duration::from_secs(2);

/// The media type of the body, without parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let header = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    header.split(';').next().unwrap_or("").trim()
}
