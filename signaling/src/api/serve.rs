//! The listener of the API: one thread, one runtime, apart from the loop that carries calls.
//!
//! A connection that sends its head slowly is closed; connections beyond the limit wait in the
//! kernel's queue, where they cost nothing.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::caller::Source;
use super::{Api, CONNECTIONS_MAX, departures};
use crate::config::Http;
use crate::net::{HTTPS_LOOKS, Https, NetError};
use crate::planner::Moves;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("[http] listen {address}: {cause}; free the port, or choose another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// Its certificate cannot be used.
    #[error("[http] {0}")]
    Certificate(NetError),
    /// No thread or runtime can be had.
    #[error("no thread for the API: {0}; raise the limit of processes (ulimit -u)")]
    Thread(std::io::Error),
}

/// The running listener; it ends when dropped.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens; with port 0 the port that the kernel chose.
    pub addresses: Vec<SocketAddr>,
}

impl Server {
    /// Listens on every address, by TLS if there is a certificate, and serves `api`; sees trunks off
    /// that `moves` tells of.
    ///
    /// # Errors
    /// [`HttpError`]
    pub fn start(api: &Api, http: &Http, moves: Moves) -> Result<Self, HttpError> {
        Self::start_looking(api, http, moves, HTTPS_LOOKS)
    }

    /// The same; the certificate's files are looked at so often.
    pub(super) fn start_looking(
        api: &Api,
        http: &Http,
        moves: Moves,
        looks: Duration,
    ) -> Result<Self, HttpError> {
        let tls = http.tls.as_ref().map(|(certificate, key)| Https::load(certificate, key));
        let tls = tls.transpose().map_err(HttpError::Certificate)?.map(Arc::new);
        let mut listeners = Vec::with_capacity(http.listen.len());
        let mut addresses = Vec::with_capacity(http.listen.len());
        for address in &http.listen {
            let fault = |cause| HttpError::Listen { address: *address, cause };
            let listener = TcpListener::bind(address).map_err(fault)?;
            listener.set_nonblocking(true).map_err(fault)?;
            addresses.push(listener.local_addr().map_err(fault)?);
            listeners.push(listener);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HttpError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let router = api.router();
        let departures = departures::follow(api.clone(), moves);
        let thread = std::thread::Builder::new()
            .name(String::from("api"))
            .spawn(move || {
                runtime.spawn(departures);
                if let Some(tls) = &tls {
                    runtime.spawn(Arc::clone(tls).follow(looks));
                }
                runtime.block_on(serve(listeners, Service { router, tls }, stopped));
            })
            .map_err(HttpError::Thread)?;
        Ok(Self { stop, thread: Some(thread), addresses })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API's thread ended by a panic; report this with the log");
        }
    }
}

/// What each connection gets.
#[derive(Clone)]
struct Service {
    router: Router,
    tls: Option<Arc<Https>>,
}

async fn serve(listeners: Vec<TcpListener>, service: Service, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let (places, stopped) = (Arc::clone(&places), stopped.clone());
                tokio::spawn(accept(listener, service.clone(), places, stopped));
            }
            Err(error) => tracing::error!(%error, "the API's listener is lost"),
        }
    }
    told(&mut stopped).await;
    // What is under way may still answer; a client that waits for news does not hold us up.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _answered = tokio::time::timeout(PARTING, places.acquire_many(all)).await;
}

/// Waits until the listener is to end, or its owner is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _owner_gone = stopped.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: tokio::net::TcpListener,
    service: Service,
    places: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stopped) => return,
        };
        match accepted {
            Ok((connection, peer)) => {
                let (service, stopped) = (service.clone(), stopped.clone());
                tokio::spawn(async move {
                    greet(connection, peer.ip(), service, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Descriptors ran out: let some connections end.
                tracing::warn!(%error, "no API connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Shakes hands first, where that is asked for.
async fn greet(
    connection: TcpStream,
    source: IpAddr,
    service: Service,
    stopped: watch::Receiver<bool>,
) {
    let Service { router, tls } = service;
    let Some(tls) = tls else { return converse(connection, source, router, stopped).await };
    match tls.accept(connection).await {
        Ok(connection) => converse(connection, source, router, stopped).await,
        Err(error) => tracing::debug!(%source, %error, "an API connection without a handshake"),
    }
}

async fn converse(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    source: IpAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = tower_service(router, source);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let conversation = builder.serve_connection(TokioIo::new(connection), service);
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = told(&mut stopped) => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%source, %error, "an API connection broke off");
    }
}

/// The router as hyper calls it, with each request knowing where it came from.
fn tower_service(
    router: Router,
    source: IpAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future = impl Send,
> {
    let inner = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Source(source));
        hyper::service::Service::call(&inner, request)
    })
}

/// How long the head of a request may take to arrive, and an idle connection may stay.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Header fields of a request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers may take when the gateway ends.
const PARTING: Duration = Duration::from_secs(2);
