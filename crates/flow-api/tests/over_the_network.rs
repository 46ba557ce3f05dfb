//! Served over the network, with certificates that come late, are renewed, and are not everybody's.

use flow_api::client::{self, Believed, Credentials};
use flow_api::observer::ServerStatusRequest;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::server::{About, Node, serve_at};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "worker-1.default.hubble-grpc.cilium.io";

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// As a mounted Secret.
    fn write(&self, folder: &Path) {
        let (certificate, key) = self.issue();
        for (name, text) in [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &self.certificate)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    fn client(&self) -> Credentials {
        let (certificate, key) = self.issue();
        Credentials {
            believed: Believed::Authorities(self.certificate.clone().into_bytes()),
            own: Some((certificate.into_bytes(), key.into_bytes())),
        }
    }
}

async fn answers(address: SocketAddr, credentials: &Credentials) -> bool {
    let Ok(channel) = client::connect_tls(&address.to_string(), NAME, credentials).await else { return false };
    ObserverClient::new(channel).server_status(ServerStatusRequest {}).await.is_ok()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn certificates_may_come_late_and_are_renewed_and_nobody_else_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let told = Arc::new(Mutex::new(Some(String::new())));
    let served = {
        let (folder, told) = (folder.path().to_owned(), told.clone());
        let node = Arc::new(Node::new(About::default(), 15));
        tokio::spawn(async move { serve_at(address, &folder, node, |why| *told.lock().unwrap() = why).await })
    };
    let tells = |text: &str| told.lock().unwrap().as_ref().is_some_and(|why| why.contains(text));
    until("the missing certificate", async || tells("tls.crt")).await;
    let (one, other) = (Authority::new(), Authority::new());
    one.write(folder.path());
    std::fs::write(folder.path().join("tls.key"), "no key").unwrap();
    until("the broken key", async || tells("the certificates in")).await;
    one.write(folder.path());
    until("the port that somebody has", async || tells("in use")).await;
    drop(taken);
    let client = one.client();
    until("an answer", async || answers(address, &client).await).await;
    assert_eq!(*told.lock().unwrap(), None);

    // Not without a certificate, and not with one of somebody else.
    let nobody = Credentials { own: None, ..client.clone() };
    assert!(!answers(address, &nobody).await);
    let strange = Credentials { own: other.client().own, ..client.clone() };
    assert!(!answers(address, &strange).await);
    // Nor is one taken for another, unless anybody is good enough; who asks has to show who it is all the same.
    let wary = Credentials { believed: other.client().believed, ..client.clone() };
    assert!(!answers(address, &wary).await);
    assert!(answers(address, &Credentials { believed: Believed::Anybody, ..client.clone() }).await);
    assert!(!answers(address, &Credentials { believed: Believed::Anybody, ..nobody }).await);
    // Who says nothing is let go.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 16])).await.expect("an end");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");

    // Half a renewal changes nothing, a whole one all.
    std::fs::write(folder.path().join("tls.crt"), "half").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(answers(address, &client).await);
    other.write(folder.path());
    let renewed = other.client();
    until("the renewed certificate", async || answers(address, &renewed).await).await;
    assert!(!answers(address, &client).await);
    served.abort();
}

#[tokio::test]
async fn so_many_at_once_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(folder.path());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let node = Arc::new(Node::new(About::default(), 15));
    let path = folder.path().to_owned();
    let served = tokio::spawn(async move { serve_at(address, &path, node, |_| ()).await });
    let client = authority.client();
    until("an answer", async || answers(address, &client).await).await;
    // All places are taken by those who say nothing: the next one waits, and is answered when they are let go.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let at_once = tokio::time::timeout(Duration::from_secs(2), answers(address, &client)).await;
    assert!(at_once.is_err(), "the places are counted");
    until("an answer after all", async || answers(address, &client).await).await;
    served.abort();
}
