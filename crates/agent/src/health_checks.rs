//! Health checks of Services for load balancers (`spec.healthCheckNodePort`): each node says how many endpoints of its
//! own it has, word for word as kube-proxy does (pkg/proxy/healthcheck/service_health.go).

use crate::services::{Health, HealthChecks};
use crate::small_http;
use crate::trouble::Trouble;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Listens wherever something is to be said, until the sender is gone.
pub async fn serve(mut checks: watch::Receiver<HealthChecks>, trouble: Trouble) {
    let mut listening: HashMap<u16, AbortHandle> = HashMap::new();
    loop {
        let wanted: Vec<u16> = checks.borrow_and_update().keys().copied().collect();
        listening.retain(|port, task| {
            let stays = wanted.contains(port);
            if !stays {
                task.abort();
            }
            stays
        });
        let mut failed = Vec::new();
        for port in wanted {
            if listening.contains_key(&port) {
                continue;
            }
            match small_http::listen(port).await {
                Ok(listener) => {
                    let health = checks.clone();
                    let answer = move |_: &_| response(health.borrow().get(&port));
                    let task = tokio::spawn(small_http::accept(listener, answer));
                    listening.insert(port, task.abort_handle());
                }
                Err(error) => failed.push(format!("health check at port {port}: {error}")),
            }
        }
        let again = !failed.is_empty();
        trouble.tell(failed);
        let changed = if again {
            // Whoever has the port may give it back.
            tokio::time::timeout(RETRY, checks.changed()).await.unwrap_or(Ok(()))
        } else {
            checks.changed().await
        };
        if changed.is_err() {
            listening.values().for_each(AbortHandle::abort);
            return;
        }
    }
}

fn response(health: Option<&Health>) -> Response<Full<Bytes>> {
    let Some(health) = health else {
        let mut gone = Response::new(Full::default());
        *gone.status_mut() = StatusCode::NOT_FOUND;
        return gone;
    };
    let count = health.local_endpoints;
    let mut response = Response::new(Full::from(body(health)));
    *response.status_mut() = if count > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(count));
    response
}

/// With kube-proxy's own tabs. Names of objects need no escapes.
fn body(health: &Health) -> String {
    let (namespace, name, count) = (&health.service.namespace, &health.service.name, health.local_endpoints);
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": true\n}}"
    )
}

/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectName;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn ask(port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    fn checks(port: u16, local_endpoints: usize) -> HealthChecks {
        HealthChecks::from([(port, Health { service: ObjectName::new("default", "spink"), local_endpoints })])
    }

    async fn until(holds: impl AsyncFn() -> bool) {
        for _ in 0..100 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in time");
    }

    #[tokio::test]
    async fn the_answer_is_kube_proxys_and_the_port_closes_with_its_service() {
        let taken = TcpListener::bind("[::]:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let (sender, receiver) = watch::channel(checks(port, 2));
        let trouble = Trouble::default();
        tokio::spawn(serve(receiver, trouble.clone()));
        until(async || trouble.now().len() == 1).await;
        drop(taken);
        until(async || ask(port).await.is_ok_and(|text| !text.is_empty())).await;
        let text = ask(port).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        for header in
            ["content-type: application/json", "x-content-type-options: nosniff", "x-load-balancing-endpoint-weight: 2"]
        {
            assert!(text.contains(header), "{text}");
        }
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"spink\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert!(text.ends_with(expected), "{text}");
        sender.send(checks(port, 0)).unwrap();
        assert!(ask(port).await.unwrap().starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        sender.send(HealthChecks::new()).unwrap();
        until(async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err()).await;
        until(async || trouble.now().is_empty()).await;
    }
}
