//! The walk from `curl` to the Pod: the seed's cluster, Deployment and Service, through a port of the machine.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::commands::{Lab, text};

fn example(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/spink").join(file)
}

/// A lab as the example's cluster file says, on a free port of the machine instead of 30080. Returns that port.
fn spink_lab() -> (Lab, SocketAddr) {
    let config = fs::read_to_string(example("kind-cluster.yaml")).unwrap().replace("hostPort: 30080", "hostPort: 0");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kind-cluster.yaml");
    fs::write(&file, config).unwrap();
    let lab = Lab::up(&["--config", file.to_str().unwrap()]);
    let status = lab.status();
    let forwards = status["forwards"].as_array().unwrap();
    let mapped =
        forwards.iter().find(|f| f["what"] == "control-plane" && f["listen"].as_str().unwrap().starts_with("127."));
    let listen = mapped.unwrap()["listen"].as_str().unwrap().parse().unwrap();
    (lab, listen)
}

/// One connection, one request. `Ok` is the body of a 200.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("no 200: {answer:?}"))),
    }
}

fn until<T>(lab: &Lab, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) if Instant::now() > deadline => {
                panic!("{what}: {why}\n{}\n{}", lab.kubectl(&["get", "pods,svc,endpoints", "-o", "wide"]), lab.logs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[test]
fn curl_reaches_both_replicas_and_nobody_once_they_are_gone() {
    let (lab, address) = spink_lab();
    for file in ["deployment.yaml", "service-nodeport.yaml"] {
        lab.kubectl(&["apply", "-f", example(file).to_str().unwrap()]);
    }
    lab.kubectl(&["rollout", "status", "deployment/spink", "--timeout=60s"]);
    let names = lab.kubectl(&["get", "pods", "-l", "app=spink", "-o", "jsonpath={.items[*].metadata.name}"]);
    let pods: BTreeSet<&str> = names.split_whitespace().collect();
    assert_eq!(pods.len(), 2, "{names}");

    let mut answered: BTreeSet<&str> = BTreeSet::new();
    until(&lab, "both replicas answer", || {
        let body = get(address, "/").map_err(|error| error.to_string())?;
        answered.extend(pods.iter().filter(|pod| body.contains(**pod)));
        if answered.len() == 2 { Ok(()) } else { Err(format!("{answered:?} of {pods:?}, last said {body}")) }
    });
    // From here on no request may fail.
    for _ in 0..200 {
        get(address, "/actuator/health").unwrap();
    }

    let pod = *pods.first().unwrap();
    let inside = lab.lab("exec", &[pod, "--", "hostname"]);
    assert_eq!(text(&inside).trim(), pod);
    assert!(lab.lab("logs", &[pod]).status.success());
    let status = lab.lab("exec", &[pod, "--", "sh", "-c", "exit 3"]).status;
    assert_eq!(status.code(), Some(3));
    let missing = lab.lab("exec", &["nobody", "--", "true"]);
    assert!(!missing.status.success() && text(&missing).contains("nobody"), "{}", text(&missing));

    lab.kubectl(&["delete", "deployment", "spink"]);
    until(&lab, "nobody answers", || match get(address, "/") {
        Ok(body) => Err(body),
        Err(error) => {
            // A read that times out is WouldBlock on Unix (`TcpStream::set_read_timeout`).
            let silence = [std::io::ErrorKind::TimedOut, std::io::ErrorKind::WouldBlock];
            assert!(!silence.contains(&error.kind()), "refused at once, never silence: {error}");
            Ok(())
        }
    });
    let down = lab.lab("down", &[]);
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(lab.traces(), Vec::<String>::new(), "after a lab with Pods");
}
