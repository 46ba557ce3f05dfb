//! Nodes that do what no node should.

use crate::cluster::Server;
use flow_api::flow::Flow;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_server::{Observer, ObserverServer};
use flow_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    ServerStatusRequest, ServerStatusResponse,
};
use flow_api::server::{Listener, bind, serve_observer};
use flow_relay::Target;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost_types::Timestamp;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::{Request, Response, Status};

/// What a node does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it should: tells the flow of second 0.
    Well,
    /// The same, after so long.
    Late(Duration),
    /// Tells it, and then nothing more, without an end.
    Stuck,
    /// Tells it again and again.
    Flooding,
    /// Never answers.
    Mute,
    /// Answers with an error.
    Failing,
    /// Says numbers that can't be.
    Boasting,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Strange {
    name: &'static str,
    way: Way,
    asked: Arc<AtomicU64>,
    /// One more for each stream that is alive.
    streams: Arc<()>,
}

impl Strange {
    pub fn new(name: &'static str, way: Way) -> Self {
        Self { name, way, asked: Arc::default(), streams: Arc::new(()) }
    }

    /// At a socket in this folder.
    pub fn serve(&self, folder: &Path) -> ((String, Target), Server) {
        let path = folder.join(format!("{}.sock", self.name));
        let (node, at) = (self.clone(), path.clone());
        let server = Server::start(|ready, stopped| async move {
            let listener = bind(&at).unwrap();
            ready.send(()).unwrap();
            serve_observer(Listener::Socket(listener), node, stopped).await.unwrap();
        });
        ((self.name.to_owned(), Target::Socket(path)), server)
    }

    /// At a port of this machine, in clear.
    pub fn serve_in_clear(&self) -> (SocketAddr, Server) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, node) = (listener.local_addr().unwrap(), self.clone());
        let server = Server::start(|ready, stopped| async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            ready.send(()).unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(ObserverServer::new(node));
            tokio::select! {
                served = server.serve_with_incoming(incoming) => served.unwrap(),
                () = stopped => {}
            }
        });
        (address, server)
    }

    /// How often it was asked for anything.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Streams of flows that somebody still reads, or could.
    pub fn streams(&self) -> usize {
        // The node and its server have one each.
        Arc::strong_count(&self.streams) - 2
    }

    async fn ask(&self) -> Result<(), Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.way {
            Way::Mute => std::future::pending().await,
            Way::Failing => Err(Status::internal("something is wrong")),
            _ => Ok(()),
        }
    }

    fn flow(&self) -> GetFlowsResponse {
        let time = Some(Timestamp::default());
        let flow = Flow { time, node_name: self.name.to_owned(), ..Flow::default() };
        GetFlowsResponse { time, node_name: self.name.to_owned(), response_types: Some(ResponseTypes::Flow(flow)) }
    }
}

#[tonic::async_trait]
impl Observer for Strange {
    type GetFlowsStream = BoxStream<'static, Result<GetFlowsResponse, Status>>;
    type GetAgentEventsStream = BoxStream<'static, Result<GetAgentEventsResponse, Status>>;
    type GetDebugEventsStream = BoxStream<'static, Result<GetDebugEventsResponse, Status>>;

    async fn get_flows(&self, _: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.ask().await?;
        let flow = self.flow();
        let all: BoxStream<'static, _> = match self.way {
            Way::Late(long) => stream::once(async move {
                tokio::time::sleep(long).await;
                flow
            })
            .boxed(),
            Way::Stuck => stream::iter([flow]).chain(stream::pending()).boxed(),
            Way::Flooding => stream::repeat(flow).boxed(),
            _ => stream::iter([flow]).boxed(),
        };
        let alive = self.streams.clone();
        Ok(Response::new(
            all.map(move |flow| {
                let _alive = &alive;
                Ok(flow)
            })
            .boxed(),
        ))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        self.ask().await?;
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        self.ask().await?;
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        self.ask().await?;
        Ok(Response::new(GetNodesResponse::default()))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        self.ask().await?;
        Ok(Response::new(GetNamespacesResponse::default()))
    }

    async fn server_status(&self, _: Request<ServerStatusRequest>) -> Result<Response<ServerStatusResponse>, Status> {
        self.ask().await?;
        let flows = if self.way == Way::Boasting { u64::MAX } else { 1 };
        let (num_flows, max_flows, seen_flows, uptime_ns) = (flows, flows, flows, flows);
        let flows_rate = if self.way == Way::Boasting { f64::INFINITY } else { 1.0 };
        Ok(Response::new(ServerStatusResponse {
            num_flows,
            max_flows,
            seen_flows,
            uptime_ns,
            flows_rate,
            ..ServerStatusResponse::default()
        }))
    }
}
