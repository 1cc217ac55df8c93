//! HTTP server for `/metrics`, `/healthz`, `/livez` and `/readyz`, in a thread of its own.
//!
//! Where a pipeline's thread owns the numbers ([`Server::start`]), a scrape becomes a [`Request`] that the
//! pipeline takes with [`Requests::try_next`] and answers. A pipeline that does not answer in time is
//! unhealthy. Where the numbers can be read from any thread, two closures answer
//! ([`Server::start_with`]).

use crate::connections::serve;
use crate::health::{CheckState, HealthReport};
use crate::page::Page;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Time that a request waits for the pipeline.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of requests of a kind that the pipeline finds at once. Further ones wait for their turn.
const MAX_WAITING: usize = 8;

/// Time for answers that are being sent when the server stops.
const END: Duration = Duration::from_secs(1);

/// Maximum number of connections, measurements of the probe among them; a further one takes the place of the oldest.
const MAX_CONNECTIONS: usize = 256;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {error}")]
pub struct BindError {
    /// Requested address.
    pub address: SocketAddr,
    /// Error of the system.
    pub error: io::Error,
}

impl BindError {
    /// Remedy for the operator of a program that has this flag.
    pub const REMEDY: &str = "give a free address with --metrics-listen ADDR:PORT, or off; if this program runs already, the address may be its own";
}

/// A request that waits for the pipeline's answer.
#[derive(Debug)]
pub enum Request {
    /// Asks for the metrics.
    Page(Reply<Page>),
    /// Asks for the health report.
    Health(Reply<HealthReport>),
}

/// Sends the answer of a request.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Sends the answer. Does nothing if the client no longer waits.
    pub fn send(self, answer: T) {
        // The request may have timed out.
        let _ = self.0.send(answer);
    }
}

/// Receives requests in the pipeline's thread.
#[derive(Debug)]
pub struct Requests {
    /// A queue of their own, so that many scrapes do not make a busy pipeline a dead one.
    health: mpsc::Receiver<Request>,
    pages: mpsc::Receiver<Request>,
}

impl Requests {
    /// Returns the next waiting request, if any, without blocking. Those for health come first.
    #[must_use]
    pub fn try_next(&mut self) -> Option<Request> {
        self.health.try_recv().or_else(|_| self.pages.try_recv()).ok()
    }
}

/// The running server; stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// Address at which it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Phase of a program's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Hooks are being attached and files opened.
    Starting,
    /// Every hook is attached; the text says where.
    Ready(String),
    /// A file is replayed: nothing is attached, and the pipeline may wait for its input and its
    /// sinks.
    Replaying,
    /// Hooks are detached; remaining records are being delivered.
    Stopping,
}

/// What answers requests.
enum Responder {
    /// A function, at once.
    Function(Box<dyn Fn(Request) + Send + Sync>),
    /// A pipeline, which takes them from [`Requests`] when it is woken.
    Pipeline {
        health: mpsc::Sender<Request>,
        pages: mpsc::Sender<Request>,
        wake: Box<dyn Fn() + Send + Sync>,
    },
}

impl Responder {
    /// Passes a request on. Waits while the pipeline's queue is full.
    async fn pass(&self, request: Request) {
        match self {
            Self::Function(answer) => answer(request),
            Self::Pipeline { health, pages, wake } => {
                let queue = match request {
                    Request::Health(_) => health,
                    Request::Page(_) => pages,
                };
                if queue.send(request).await.is_ok() {
                    wake();
                }
            }
        }
    }
}

struct Shared {
    responder: Responder,
    phase: Mutex<Phase>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Shared {
    fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the pipeline's answer, or why there is none.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, &'static str> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.responder.pass(request(Reply(reply))).await;
            answer.await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err("the pipeline does not answer"),
        }
    }
}

impl Server {
    /// Binds the address and serves it; not ready until [`Self::set_phase`] says so. `wake` is
    /// called for each waiting request, so that the pipeline need not poll.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread cannot start.
    pub fn start(
        listen: SocketAddr,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Requests), BindError> {
        Self::start_with_routes(listen, Router::new(), wake)
    }

    /// Serves an address that [`bind`] has bound, as [`Self::start`] does.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn start_on(
        listener: TcpListener,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Requests), BindError> {
        let (responder, requests) = requests(wake);
        Ok((Self::serve(listener, Router::new(), responder)?, requests))
    }

    /// Binds the address and serves it as [`Self::start`] does, and further routes of the program. Their
    /// handlers run in the server's thread and must not keep it busy.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread cannot start.
    pub fn start_with_routes(
        listen: SocketAddr,
        routes: Router,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Requests), BindError> {
        let (responder, requests) = requests(wake);
        Ok((Self::serve(bind(listen)?, routes, responder)?, requests))
    }

    /// Binds the address and serves it as [`Self::start`] does. `page` returns the metrics,
    /// and `health` the report; both run in the server's thread and must not block.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread cannot start.
    pub fn start_with(
        listen: SocketAddr,
        page: impl Fn() -> Page + Send + Sync + 'static,
        health: impl Fn() -> HealthReport + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let answer = move |request| match request {
            Request::Page(reply) => reply.send(page()),
            Request::Health(reply) => reply.send(health()),
        };
        Self::serve(bind(listen)?, Router::new(), Responder::Function(Box::new(answer)))
    }

    fn serve(
        listener: TcpListener,
        routes: Router,
        responder: Responder,
    ) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address =
            listener.local_addr().map_err(|error| BindError { address: unknown, error })?;
        let fail = |error| BindError { address, error };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let shared = Arc::new(Shared { responder, phase: Mutex::new(Phase::Starting) });
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&shared)).merge(routes);
        let work = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    // A sender that is gone stops the server, too.
                    Ok(listener) => {
                        let stop = async { drop(stopped.await) };
                        serve(listener, router, MAX_CONNECTIONS, END, stop).await;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the HTTP server for metrics does not start");
                    }
                }
            });
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(work).map_err(fail)?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Sets the phase, which `/readyz` reports and `/healthz` depends on.
    pub fn set_phase(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

/// Binds an address without serving it: for a program that may not do it later.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(listen: SocketAddr) -> Result<TcpListener, BindError> {
    let fail = |error| BindError { address: listen, error };
    let listener = TcpListener::bind(listen).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    Ok(listener)
}

/// Returns what passes requests on to a pipeline, which it wakes, and what that takes them from.
fn requests(wake: impl Fn() + Send + Sync + 'static) -> (Responder, Requests) {
    let (health, waiting_health) = mpsc::channel(MAX_WAITING);
    let (pages, waiting_pages) = mpsc::channel(MAX_WAITING);
    let responder = Responder::Pipeline { health, pages, wake: Box::new(wake) };
    (responder, Requests { health: waiting_health, pages: waiting_pages })
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| async { "dnscribe: /metrics /healthz /livez /readyz\n" }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

/// Returns a response with status 503.
fn unavailable(text: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.ask(Request::Page).await {
        Ok(page) => exposition(&headers, page),
        Err(why) => unavailable(format!("{why}\n")),
    }
}

/// Media types of a page in its two forms.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Returns a page in the form that the client prefers: Protobuf, which has native histograms, if its `Accept` gives that
/// a greater weight than text (RFC 9110, section 12.5.1), else text.
#[must_use]
pub fn exposition(headers: &HeaderMap, page: Page) -> Response {
    if prefers_protobuf(headers) {
        ([(header::CONTENT_TYPE, PROTOBUF)], page.into_protobuf()).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT)], page.into_text()).into_response()
    }
}

fn prefers_protobuf(headers: &HeaderMap) -> bool {
    let (mut protobuf, mut text): (f32, f32) = (0.0, 0.0);
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let range = range.to_ascii_lowercase();
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter =
            |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let weight = parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        // Another message, or another framing, is not what is served.
        let is_served = parameter("proto")
            .is_none_or(|proto| proto == "io.prometheus.client.metricfamily")
            && parameter("encoding").is_none_or(|encoding| encoding == "delimited");
        match kind {
            Some("application/vnd.google.protobuf") if is_served => protobuf = protobuf.max(weight),
            Some("text/plain" | "text/*" | "*/*") => text = text.max(weight),
            _ => {}
        }
    }
    protobuf > text
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let report = match shared.phase() {
        // A program that starts or stops must not be restarted for it.
        Phase::Starting => HealthReport::of_pipeline(CheckState::Ok, "starting"),
        Phase::Stopping => HealthReport::of_pipeline(CheckState::Ok, "stopping"),
        phase => match (shared.ask(Request::Health).await, phase) {
            (Ok(report), _) => report,
            (Err(why), Phase::Replaying) => {
                let why = format!("{why}: it may wait for its input, or a sink");
                HealthReport::of_pipeline(CheckState::Warn, &why)
            }
            (Err(why), _) => HealthReport::of_pipeline(CheckState::Fail, why),
        },
    };
    if report.is_healthy() {
        report.to_string().into_response()
    } else {
        unavailable(report.to_string())
    }
}

/// Reports whether the pipeline answers, however much is lost: restarting it would only lose more.
async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    match shared.phase() {
        Phase::Ready(_) => match shared.ask(Request::Health).await {
            Ok(_) => "alive\n".into_response(),
            Err(why) => unavailable(format!("not alive: {why}\n")),
        },
        Phase::Starting | Phase::Replaying | Phase::Stopping => "alive\n".into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.phase() {
        Phase::Ready(what) => format!("ready\n{what}\n").into_response(),
        Phase::Replaying => "ready\nreplay attaches nothing\n".into_response(),
        Phase::Starting => unavailable("not ready: starting\n".to_owned()),
        Phase::Stopping => unavailable("not ready: stopping\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// Returns the status code and the body.
    fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(path != "/metrics" || !head.contains(" 200 ") || head.contains("version=0.0.4"));
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Waits for the next request.
    fn next(requests: &mut Requests) -> Request {
        loop {
            if let Some(request) = requests.try_next() {
                return request;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn serves_metrics_of_pipeline() {
        let (wakes, woken) = std::sync::mpsc::channel();
        let wake = move || wakes.send(()).unwrap();
        let (server, mut requests) = Server::start("127.0.0.1:0".parse().unwrap(), wake).unwrap();
        let address = server.address;
        assert_eq!(fetch(address, "/nothing").0, 404);
        let scrape = thread::spawn(move || fetch(address, "/metrics"));
        woken.recv().unwrap();
        let Some(Request::Page(reply)) = requests.try_next() else {
            panic!("asked for the metrics")
        };
        let describe = |_: &str| Some(const { &Metric::counter("a", "1", "A.") });
        let mut page = Page::new(describe);
        page.count("a", 1);
        reply.send(page);
        let text = "# HELP a A.\n# TYPE a counter\na 1\n";
        assert_eq!(scrape.join().unwrap(), (200, text.into()));
        assert_eq!(fetch(address, "/metrics").0, 503, "nobody answers");
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn protobuf_only_for_those_who_prefer_it() {
        let text = "text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let prefers = |accept: &str| {
            prefers_protobuf(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]))
        };
        assert!(prefers(&format!(
            "{protobuf};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,{text}"
        )));
        assert!(prefers(&protobuf.replace(';', " ; ")));
        assert!(!prefers(&format!("{protobuf};q=0.2,{text}")));
        assert!(!prefers(&format!("{protobuf};q=0")));
        assert!(!prefers(&protobuf.replace("delimited", "text")));
        for other in [text, "", "*/*", "application/*", "application/openmetrics-text", ";;,=,q=x"]
        {
            assert!(!prefers(other), "{other}");
        }
        assert!(!prefers_protobuf(&HeaderMap::new()));
    }

    #[test]
    fn serves_routes_of_the_program() {
        let routes = Router::new().route("/probe", get(|| async { "probe_success 1\n" }));
        let listen = "127.0.0.1:0".parse().unwrap();
        let (server, _requests) = Server::start_with_routes(listen, routes, || {}).unwrap();
        assert_eq!(fetch(server.address, "/probe"), (200, "probe_success 1\n".into()));
        assert_eq!(fetch(server.address, "/livez"), (200, "alive\n".into()));
    }

    #[test]
    fn silent_connections_do_not_keep_others_out() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let mut silent: Vec<TcpStream> = (0..MAX_CONNECTIONS + 20)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address).unwrap();
                stream.write_all(b"GET /liv").unwrap();
                stream
            })
            .collect();
        assert_eq!(fetch(server.address, "/livez"), (200, "alive\n".into()));
        let first = silent.first_mut().unwrap();
        first.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let ended = first.read(&mut [0]);
        let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        assert!(matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(is_reset), "{ended:?}");
        let last = silent.last_mut().unwrap();
        last.write_all(b"ez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("alive\n"), "the newest is served: {answer}");
    }

    #[test]
    fn ready_only_while_attached() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address;
        let starting = (200, "ok\nok    pipeline  starting\n".to_owned());
        assert_eq!(fetch(address, "/healthz"), starting);
        assert_eq!(fetch(address, "/readyz"), (503, "not ready: starting\n".into()));
        server.set_phase(Phase::Ready("hook cgroup, attached at /".into()));
        let ready = (200, "ready\nhook cgroup, attached at /\n".into());
        assert_eq!(fetch(address, "/readyz"), ready);
        server.set_phase(Phase::Stopping);
        assert_eq!(fetch(address, "/readyz"), (503, "not ready: stopping\n".into()));
        assert_eq!(fetch(address, "/healthz").0, 200);
    }

    #[test]
    fn health_follows_pipeline() {
        let (server, mut requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address;
        server.set_phase(Phase::Ready(String::new()));
        for (found, code, first) in
            [(CheckState::Warn, 200, "ok\n"), (CheckState::Fail, 503, "unhealthy\n")]
        {
            let probe = thread::spawn(move || fetch(address, "/healthz"));
            let Request::Health(reply) = next(&mut requests) else {
                panic!("asked for the health")
            };
            reply.send(HealthReport::of_pipeline(found, "why"));
            let (status, text) = probe.join().unwrap();
            assert_eq!(status, code);
            assert!(text.starts_with(first) && text.contains("why"), "{text}");
        }
        let (status, text) = fetch(address, "/healthz");
        assert_eq!(status, 503, "nobody answers");
        assert!(text.contains("fail  pipeline  the pipeline does not answer"), "{text}");
        server.set_phase(Phase::Replaying);
        let (status, text) = fetch(address, "/healthz");
        assert_eq!(status, 200, "nobody answers, for there may be nothing to read");
        assert!(text.contains("warn  pipeline  the pipeline does not answer: it may"), "{text}");
    }

    #[test]
    fn alive_while_pipeline_answers() {
        let (server, mut requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address;
        assert_eq!(fetch(address, "/livez"), (200, "alive\n".into()));
        server.set_phase(Phase::Ready(String::new()));
        let probe = thread::spawn(move || fetch(address, "/livez"));
        let Request::Health(reply) = next(&mut requests) else { panic!("asked for the health") };
        reply.send(HealthReport::of_pipeline(CheckState::Fail, "packets lost"));
        assert_eq!(probe.join().unwrap().0, 200, "a restart would not help");
        let dead = "not alive: the pipeline does not answer\n".to_owned();
        assert_eq!(fetch(address, "/livez"), (503, dead));
    }

    #[test]
    fn many_scrapes_keep_nobody_out() {
        let (wakes, woken) = std::sync::mpsc::channel();
        let wake = move || wakes.send(()).unwrap();
        let (server, mut requests) = Server::start("127.0.0.1:0".parse().unwrap(), wake).unwrap();
        let address = server.address;
        server.set_phase(Phase::Ready(String::new()));
        let scrapes: Vec<_> = (0..2 * MAX_WAITING)
            .map(|_| thread::spawn(move || fetch(address, "/metrics").0))
            .collect();
        for _ in 0..MAX_WAITING {
            woken.recv().unwrap();
        }
        let probe = thread::spawn(move || fetch(address, "/livez"));
        let is_woken = woken.recv_timeout(Duration::from_secs(1));
        assert!(is_woken.is_ok(), "the probe has a queue of its own");
        let Some(Request::Health(reply)) = requests.try_next() else {
            panic!("health comes first")
        };
        reply.send(HealthReport::of_pipeline(CheckState::Ok, "answers"));
        assert_eq!(probe.join().unwrap(), (200, "alive\n".into()));
        for _ in &scrapes {
            let Request::Page(reply) = next(&mut requests) else { panic!("asked for the metrics") };
            reply.send(Page::new(|_| None));
        }
        for scrape in scrapes {
            assert_eq!(scrape.join().unwrap(), 200, "it waits for its turn");
        }
    }

    #[test]
    fn busy_port_is_an_error() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let error = Server::start(server.address, || {}).unwrap_err();
        assert!(error.to_string().contains(&server.address.to_string()), "{error}");
    }
}
