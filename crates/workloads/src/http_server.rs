//! HTTP/1.1 over one accepted connection, with the manners of [`crate::lifecycle`].

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    connection::{Answer, Connection},
    lifecycle::{IDLE_BEFORE_CLOSE, Lifecycle, Phase},
    lingering::Lingering,
    pages::{self, Site},
    whoami::canonical,
};

/// Serves until the client or the server's end closes the connection.
pub async fn serve(stream: TcpStream, peer: SocketAddr, site: &'static Site, lifecycle: Lifecycle) {
    let Ok(local) = stream.local_addr() else { return };
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let ends = pages::Ends { peer: canonical(peer), local: canonical(local) };
    let connection = Connection::new(lifecycle.clone());

    let service = service_fn(|request: Request<Incoming>| {
        let connection = connection.clone();
        async move {
            let in_flight = connection.begin();
            let (head, content) = pages::answer(site, ends, request).await.into_parts();
            let mut response = Response::from_parts(head, Answer::new(content, in_flight));
            if connection.lifecycle.phase() >= Phase::Draining {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(Lingering::new(stream, lifecycle.clone())), service)
    );

    // A client that breaks the protocol or vanishes is its own problem; hyper has answered 400 where that helps.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = lifecycle.reached(Phase::Draining) => {}
    }
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = sleep(IDLE_CHECK) => {
                if connection.idle() >= IDLE_BEFORE_CLOSE {
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// How often an idle connection of a draining server is looked at.
const IDLE_CHECK: Duration = Duration::from_millis(200);
