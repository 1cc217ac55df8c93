//! `/metrics`, `/healthz`, `/readyz`: a small HTTP server in a thread of its own.
//!
//! The numbers belong to the pipeline's thread, which hands them out when it is asked: a scrape
//! becomes a [`Request`] that the pipeline finds with [`Requests::try_next`] and answers.

#![forbid(unsafe_code)]

mod alerts;
pub mod process;
pub mod render;
pub mod text;
pub mod transactions;

pub use render::{Build, Snapshot, render};
pub use transactions::{Seen, TransactionMetrics};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a scrape waits for the pipeline.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many scrapes may wait at once.
const WAITING: usize = 8;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {error}")]
pub struct BindError {
    /// The address wanted.
    pub address: SocketAddr,
    /// The system's error.
    pub error: io::Error,
}

impl BindError {
    /// What the operator can do.
    pub const REMEDY: &str = "give a free address with --metrics-listen ADDR:PORT, or off";
}

/// A scrape that waits for its answer.
#[derive(Debug)]
pub struct Request {
    reply: oneshot::Sender<String>,
}

impl Request {
    /// Gives the scrape its text, in Prometheus' format. Does nothing if it has gone away.
    pub fn answer(self, text: String) {
        // The scraper's patience may have ended meanwhile.
        let _ = self.reply.send(text);
    }
}

/// Where the pipeline finds scrapes.
#[derive(Debug)]
pub struct Requests(Receiver<Request>);

impl Requests {
    /// The next scrape that waits, if any. Never waits itself.
    #[must_use]
    pub fn try_next(&self) -> Option<Request> {
        self.0.try_recv().ok()
    }
}

/// The running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    requests: Sender<Request>,
    /// Why not ready, if not.
    unready: Mutex<Option<String>>,
}

impl Server {
    /// Takes the address and serves it. Not ready until told so.
    pub fn start(listen: SocketAddr) -> Result<(Self, Requests), BindError> {
        let fail = |error| BindError { address: listen, error };
        let listener = TcpListener::bind(listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (requests, waiting) = crossbeam_channel::bounded(WAITING);
        let unready = Mutex::new(Some("starting".to_owned()));
        let shared = Arc::new(Shared { requests, unready });
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&shared));
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, router) => if let Err(error) = served {
                        tracing::error!(%error, "the metrics server has ended");
                    },
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(work).map_err(fail)?;
        let server = Self { address, shared, stop: Some(stop), thread: Some(thread) };
        Ok((server, Requests(waiting)))
    }

    /// The address served, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells what `/readyz` answers: ready, or why not.
    pub fn set_ready(&self, ready: Result<(), String>) {
        *self.shared.unready.lock().unwrap_or_else(PoisonError::into_inner) = ready.err();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router).await
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| async { "dnscribe: /metrics /healthz /readyz\n" }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let unavailable = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    let (reply, answer) = oneshot::channel();
    if shared.requests.try_send(Request { reply }).is_err() {
        return unavailable("too many scrapes at once\n");
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text).into_response(),
        _ => unavailable("the pipeline does not answer\n"),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let unready = shared.unready.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match unready {
        None => "ready\n".into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// The status code and the body.
    fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(path != "/metrics" || !head.contains(" 200 ") || head.contains("version=0.0.4"));
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    #[test]
    fn serves_what_the_pipeline_answers() {
        let (server, requests) = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address();
        assert_eq!(fetch(address, "/healthz"), (200, "ok\n".into()));
        assert_eq!(fetch(address, "/nothing").0, 404);
        assert_eq!(fetch(address, "/readyz"), (503, "not ready: starting\n".into()));
        server.set_ready(Ok(()));
        assert_eq!(fetch(address, "/readyz"), (200, "ready\n".into()));
        server.set_ready(Err("hook cgroup is not attached".into()));
        assert_eq!(
            fetch(address, "/readyz"),
            (503, "not ready: hook cgroup is not attached\n".into())
        );
        let scrape = thread::spawn(move || fetch(address, "/metrics"));
        let request = loop {
            if let Some(request) = requests.try_next() {
                break request;
            }
            thread::sleep(Duration::from_millis(1));
        };
        request.answer("a 1\n".into());
        assert_eq!(scrape.join().unwrap(), (200, "a 1\n".into()));
        assert_eq!(fetch(address, "/metrics").0, 503, "nobody answers");
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_busy_port_is_an_error() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = Server::start(server.address()).unwrap_err();
        assert!(error.to_string().contains(&server.address().to_string()), "{error}");
        let exit = crate::exit::Exit::from(error);
        assert_eq!(exit.code(), 1);
        assert!(exit.to_string().contains("--metrics-listen"), "{exit}");
    }
}
