//! From a request to its answer.

mod resource;
mod subresource;

use crate::api::Api;
use crate::error::ApiError;
use crate::http::{Accept, Answer, Form, Query, json_answer, parse_path, raw_answer};
use crate::{discovery, openapi};
use ::http::{Method, Request, header};
use bytes::Bytes;
use hyper::body::Body;
use std::sync::Arc;

/// Who asks, as far as TLS told.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Common name of the client's certificate; None without one.
    pub user: Option<String>,
}

/// Answers any request; never fails.
pub async fn handle<B>(api: Arc<Api>, caller: Caller, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let accept_header =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let line = format!("{} {}", request.method(), request.uri());
    match answer(&api, &caller, request, &accept_header).await {
        Ok(answer) => {
            tracing::debug!(request = line, status = answer.status().as_u16());
            answer
        }
        Err(error) => {
            tracing::debug!(request = line, status = error.code, %error);
            let mut answer = json_answer(error.code, &error.status(), Accept::parse(&accept_header).yaml);
            if let Some(seconds) = error.details["retryAfterSeconds"].as_u64() {
                answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
            }
            answer
        }
    }
}

async fn answer<B>(
    api: &Arc<Api>,
    caller: &Caller,
    request: Request<B>,
    accept_header: &str,
) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let path = request.uri().path().to_owned();
    let public = path == "/version" || ["/readyz", "/livez", "/healthz"].iter().any(|probe| path.starts_with(probe));
    if !public && caller.user.is_none() {
        return Err(ApiError::new(401, "Unauthorized", "Unauthorized"));
    }
    if let Some(answer) = documents(api, &path, &request, accept_header)? {
        return Ok(answer);
    }
    let query = Query::parse(request.uri().query().unwrap_or(""))?;
    let target = parse_path(&path).ok_or_else(ApiError::no_such_path)?;
    let resource =
        api.registry.load().find(&target.group, &target.version, &target.plural).ok_or_else(ApiError::no_such_path);
    let resource = match resource {
        Ok(resource) => resource,
        Err(error) => return subresource::without_kind(api, &target, request, error).await,
    };
    if target.namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    let accept = Accept::parse(accept_header);
    if accept.unacceptable {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/json;stream=watch";
        return Err(ApiError::new(406, "NotAcceptable", message));
    }
    let call = resource::Call {
        api: Arc::clone(api),
        resource,
        target,
        query,
        accept,
        user: caller.user.clone().unwrap_or_default(),
    };
    match call.target.subresource.is_some() {
        true => subresource::handle(&call, request).await,
        false => resource::handle(&call, request).await,
    }
}

/// Probes, discovery, OpenAPI: what is no object.
fn documents<B>(api: &Api, path: &str, request: &Request<B>, accept_header: &str) -> Result<Option<Answer>, ApiError> {
    if parse_path(path).is_some() {
        return Ok(None);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(if path.starts_with("/api") { ApiError::method_not_allowed() } else { ApiError::no_such_path() });
    }
    let trimmed = path.trim_end_matches('/');
    let probe = ["/readyz", "/livez", "/healthz"]
        .iter()
        .any(|probe| trimmed == *probe || path.starts_with(&format!("{probe}/")));
    let answer = match trimmed {
        _ if probe => raw_answer(200, "text/plain; charset=utf-8", "ok"),
        "/version" => json_answer(200, &discovery::version(), false),
        "/openapi/v2" => openapi::v2(api, accept_header)?,
        "/openapi/v3" => json_answer(200, &openapi::v3_index(api), false),
        document if document.starts_with("/openapi/v3/") => {
            let found = openapi::v3_document(api, document.trim_start_matches("/openapi/v3/"))
                .ok_or_else(ApiError::no_such_path)?;
            raw_answer(200, "application/json", found.to_string())
        }
        _ => {
            let registry = api.registry.load();
            let accept = Accept::parse(accept_header);
            if accept.form == Form::Discovery && matches!(trimmed, "/api" | "/apis") {
                discovery::aggregated(&registry, trimmed, &accept.version, request.headers().get(header::IF_NONE_MATCH))
            } else {
                let document =
                    discovery::classic(&registry, trimmed, &api.config).ok_or_else(ApiError::no_such_path)?;
                json_answer(200, &document, accept.yaml)
            }
        }
    };
    Ok(Some(answer))
}
