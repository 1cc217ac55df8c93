//! Connections of an HTTP server. `axum::serve` would keep any number of silent ones, until the process has no descriptor left for
//! its own work.

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Time that a connection may go without a complete request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1 until `stop` is done, then completes the answers that have begun, for as long as `end`. A connection above `most`
/// takes the place of the oldest.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    most: usize,
    end: Duration,
    stop: impl Future<Output = ()>,
) {
    let (mut stop, ends) = (pin!(stop), GracefulShutdown::new());
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= most
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        connections.push_back(tokio::spawn(ends.watch(connection)).abort_handle());
    }
    drop(listener);
    if tokio::time::timeout(end, ends.shutdown()).await.is_err() {
        tracing::debug!("some answers were not read to their end");
    }
}
