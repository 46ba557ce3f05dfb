//! What must not happen: bodies, paths and peers that mean no good.

mod support;

use support::Server;

#[test]
fn server_process() {
    support::server_process();
}

async fn send(client: &kube::Client, method: &str, path: &str, media: &str, body: Vec<u8>) -> u16 {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media)
        .body(kube::client::Body::from(body))
        .unwrap();
    client.send(request).await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn hostile_requests_are_refused_and_the_server_goes_on() {
    let server = Server::start();
    let client = server.client().await;
    let pods = "/api/v1/namespaces/default/pods";
    let json = "application/json";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"metadata\":{{\"name\":\"x\"}},\"spec\":{}1{}}}", "{\"a\":".repeat(300), "}".repeat(300));
    let huge = format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x".repeat(4 << 20));
    for (method, path, media, body, expected) in [
        ("POST", pods, json, b"".to_vec(), 400),
        ("POST", pods, json, b"{".to_vec(), 400),
        ("POST", pods, json, b"[]".to_vec(), 400),
        ("POST", pods, json, b"\xff\xfe".to_vec(), 400),
        ("POST", pods, json, deep.clone().into_bytes(), 400),
        ("POST", pods, json, nested.into_bytes(), 400),
        ("POST", pods, json, huge.into_bytes(), 413),
        ("POST", pods, json, br#"{"metadata":[]}"#.to_vec(), 400),
        ("POST", pods, json, br#"{"metadata":{"name":"x","labels":{"a":1}}}"#.to_vec(), 400),
        (
            "POST",
            pods,
            json,
            br#"{"metadata":{"name":"../../x"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#.to_vec(),
            422,
        ),
        ("POST", pods, json, br#"{"metadata":{"name":"x"}}"#.to_vec(), 422),
        ("POST", pods, json, br#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"x"}}"#.to_vec(), 400),
        ("POST", pods, "application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff".to_vec(), 400),
        ("POST", pods, "application/yaml", b"a: [".to_vec(), 400),
        ("POST", pods, "text/csv", b"a,b".to_vec(), 415),
        ("PATCH", "/api/v1/namespaces/default", "application/json-patch+json", b"{}".to_vec(), 400),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            "application/json-patch+json",
            br#"[{"op":"replace","path":"","value":3}]"#.to_vec(),
            400,
        ),
        ("PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", b"[]".to_vec(), 400),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            "application/merge-patch+json",
            br#"{"metadata":{"name":"other"}}"#.to_vec(),
            400,
        ),
        ("PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", br#"{"metadata":null}"#.to_vec(), 400),
        ("PATCH", "/api/v1/namespaces/default", "text/plain", b"x".to_vec(), 415),
        ("GET", "/api/v1/pods?labelSelector=a%20b%20c", json, Vec::new(), 400),
        ("GET", "/api/v1/pods?limit=many", json, Vec::new(), 400),
        ("GET", "/api/v1/pods?watch=1&resourceVersion=x", json, Vec::new(), 400),
        ("GET", "/api/v1/%ff", json, Vec::new(), 404),
        ("GET", "/api/v9/pods", json, Vec::new(), 404),
        ("DELETE", "/api/v1/namespaces/kube-system", json, Vec::new(), 403),
        ("PUT", pods, json, b"{}".to_vec(), 405),
        ("POST", "/api", json, Vec::new(), 405),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(send(&client, method, path, media, body).await, expected, "{method} {path} {media} {shown}");
    }
    assert_eq!(send(&client, "GET", "/readyz", json, Vec::new()).await, 200);
}

#[tokio::test]
async fn without_a_certificate_there_are_only_probes() {
    let server = Server::start();
    let mut config = server.config().await;
    config.auth_info.client_certificate_data = None;
    config.auth_info.client_key_data = None;
    let client = kube::Client::try_from(config).unwrap();
    let media = "application/json";
    for (path, expected) in [
        ("/readyz", 200),
        ("/livez", 200),
        ("/healthz", 200),
        ("/version", 200),
        ("/api", 401),
        ("/api/v1/secrets", 401),
        ("/openapi/v2", 401),
    ] {
        assert_eq!(send(&client, "GET", path, media, Vec::new()).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_certificate_is_no_certificate() {
    let (server, other) = (Server::start(), Server::start());
    let mut config = server.config().await;
    config.auth_info = other.config().await.auth_info;
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::get("/api/v1/secrets").body(Vec::new()).unwrap();
    assert!(client.request_text(request).await.is_err(), "TLS itself refuses it");
}
