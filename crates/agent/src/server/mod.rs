//! `agent.sock`: HTTP/1.1 and JSON over a unix socket that only root can open.

use crate::error::Error;
use crate::events::{End, Followers, Following, Hub, Listener};
use crate::identities::{EndpointView, IdentityView};
use crate::services::View;
use crate::status::{References, Status};
use axum::body::Body;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::StreamExt;
use model::ObjectName;
use policy::snapshot::Snapshot;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

/// A question to the loop that has the state.
#[derive(Debug)]
pub enum Question {
    /// Everything.
    Status(oneshot::Sender<Status>),
    /// Who still sends new flows to an address.
    References(IpAddr, oneshot::Sender<References>),
    /// All Services or one, with their endpoints' standing.
    Services(Option<ObjectName>, oneshot::Sender<Vec<View>>),
    /// Every identity.
    Identities(oneshot::Sender<Vec<IdentityView>>),
    /// The Pods of this node.
    Endpoints(oneshot::Sender<Vec<EndpointView>>),
    /// Policies, identities, nodes and Pods in one piece.
    Policy(oneshot::Sender<Snapshot>),
    /// Somebody listens to events now: names are wanted, and maybe single packets.
    Listening,
}

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where questions go.
    pub questions: mpsc::Sender<Question>,
    /// Where events come from.
    pub hub: Arc<Hub>,
    /// Whose packets are told.
    pub followers: Arc<Followers>,
}

/// Listens at the path, for root alone. A socket left by an earlier agent is replaced in one step.
///
/// # Errors
/// When the file can't be made.
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    flow_api::server::bind(path).map_err(Error::file("listen at", path))
}

/// Answers until the runtime ends.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: UnixListener, context: Context) -> std::io::Result<()> {
    axum::serve(listener, router(context)).await
}

fn router(context: Context) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/v1/status", get(status))
        .route("/v1/monitor", get(monitor))
        .route("/v1/trace", get(trace))
        .route("/v1/backends/{address}", get(backends))
        .route("/v1/services", get(services))
        .route("/v1/services/{namespace}/{name}", get(service))
        .route("/v1/identities", get(identities))
        .route("/v1/endpoints", get(endpoints))
        .route("/v1/policy", get(policy))
        .with_state(context)
}

/// The loop answers, so it lives.
async fn healthz(State(context): State<Context>) -> Response {
    match ask(&context, Question::Status).await {
        Some(_) => "ok\n".into_response(),
        None => gone(),
    }
}

async fn status(State(context): State<Context>) -> Response {
    match ask(&context, Question::Status).await {
        Some(status) => Json(status).into_response(),
        None => gone(),
    }
}

async fn backends(State(context): State<Context>, UrlPath(address): UrlPath<String>) -> Response {
    let Ok(address) = address.parse::<IpAddr>() else {
        return (StatusCode::BAD_REQUEST, "not an IP address\n").into_response();
    };
    match ask(&context, |answer| Question::References(address, answer)).await {
        Some(references) => Json(references).into_response(),
        None => gone(),
    }
}

async fn services(State(context): State<Context>) -> Response {
    match ask(&context, |answer| Question::Services(None, answer)).await {
        Some(services) => Json(services).into_response(),
        None => gone(),
    }
}

async fn service(State(context): State<Context>, UrlPath((namespace, name)): UrlPath<(String, String)>) -> Response {
    let name = ObjectName::new(&namespace, &name);
    match ask(&context, |answer| Question::Services(Some(name), answer)).await {
        Some(services) => Json(services).into_response(),
        None => gone(),
    }
}

async fn identities(State(context): State<Context>) -> Response {
    match ask(&context, Question::Identities).await {
        Some(identities) => Json(identities).into_response(),
        None => gone(),
    }
}

async fn endpoints(State(context): State<Context>) -> Response {
    match ask(&context, Question::Endpoints).await {
        Some(endpoints) => Json(endpoints).into_response(),
        None => gone(),
    }
}

async fn policy(State(context): State<Context>) -> Response {
    match ask(&context, Question::Policy).await {
        Some(snapshot) => Json(snapshot).into_response(),
        None => gone(),
    }
}

#[derive(Debug, Default, Deserialize)]
struct MonitorOptions {
    /// Single packets too.
    #[serde(default)]
    trace: bool,
}

async fn monitor(State(context): State<Context>, Query(options): Query<MonitorOptions>) -> Response {
    let listener = context.hub.listen(options.trace);
    stream(&context, listener, None).await
}

#[derive(Debug, Deserialize)]
struct TraceOptions {
    /// [`End`] as text.
    end: String,
}

/// Every packet of one end's flows, from when the answer begins.
async fn trace(State(context): State<Context>, Query(options): Query<TraceOptions>) -> Response {
    let end: End = match options.end.parse() {
        Ok(end) => end,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    match context.followers.follow(end) {
        // What is told in between is missed by nobody: whoever asks begins when this has answered.
        Ok(following) => stream(&context, context.hub.follow(end, following.bit()), Some(following)).await,
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", crate::error::chain(&error))).into_response(),
    }
}

async fn stream(context: &Context, listener: Listener, following: Option<Following>) -> Response {
    // If the loop is gone there are no names and no traces, and the process is about to end.
    let _ = context.questions.send(Question::Listening).await;
    let end = (following, EndOfListening(context.questions.clone()));
    let lines = futures::stream::unfold((listener, end), |(mut listener, end)| async move {
        let line = listener.lines.recv().await?;
        Some((line, (listener, end)))
    });
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The loop looks again at who listens when somebody leaves. Dropped after the listener, as it stands behind it.
struct EndOfListening(mpsc::Sender<Question>);

impl Drop for EndOfListening {
    fn drop(&mut self) {
        // When the queue is full the loop comes to look by itself soon.
        let _ = self.0.try_send(Question::Listening);
    }
}

async fn ask<T>(context: &Context, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    context.questions.send(question(sender)).await.ok()?;
    answer.await.ok()
}

fn gone() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending\n").into_response()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
