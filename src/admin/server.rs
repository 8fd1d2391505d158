//! The HTTP server. It holds a bounded number of connections, each for a bounded time, whatever its clients do. It
//! never takes so many descriptors that the bridge runs out of them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::access::{Access, guard};
use super::status::Overview;
use super::{page, tap};
use crate::journal::Fs;
use crate::shutdown::Shutdown;
use crate::telemetry::Exposition;
use crate::{descriptors, remedy};

/// The status pages of a team, two Prometheus servers and some probes.
const CONNECTIONS_MAX: usize = 64;

/// The part of all descriptors that HTTP may use where few are allowed. The bridge itself needs some thirty.
const DESCRIPTORS_SHARE: u64 = 4;

/// For the head of a request, from the moment the connection is open or the answer before it was sent.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// After this a connection answers no further request, and after as long again it is closed: a client that does not read
/// its answer.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// Browsers with many cookies for localhost send some 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// How long no connection is accepted after an error, and how often such errors are logged at most.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("http.listen {address}: {source}; choose another address, or http: off")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Takes the address, so that a conflict shows before anything else starts.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves until the shutdown is requested.
pub async fn serve<F: Fs>(listener: TcpListener, overview: Arc<Overview<F>>, access: Access, mut shutdown: Shutdown) {
    let router = router(overview, access);
    let mut connections = Connections::new();
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => connections.add(stream, router.clone()).await,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    told = Some(Instant::now());
                    let advice = remedy::of_descriptors(&error).unwrap_or("nothing, unless it repeats");
                    tracing::warn!(%error, advice, "an HTTP connection cannot be accepted; messages go on flowing");
                }
                // Where descriptors are lacking, the oldest connection gives one back.
                connections.close_oldest().await;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn router<F: Fs>(overview: Arc<Overview<F>>, access: Access) -> Router {
    Router::new()
        .route("/", get(async || page::answer()))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz::<F>))
        .route("/status", get(status::<F>))
        .route("/history", get(history::<F>))
        .route("/metrics", get(metrics::<F>))
        .route("/tap", get(tap::answer::<F>))
        .layer(middleware::from_fn_with_state(Arc::new(access), guard))
        .with_state(overview)
}

/// The open connections. When there are as many as may be, the oldest gives way: half-open requests must not keep a health
/// check waiting.
struct Connections {
    max: usize,
    running: JoinSet<()>,
    /// The oldest first; some may have ended.
    by_age: VecDeque<AbortHandle>,
}

impl Connections {
    fn new() -> Connections {
        let share = usize::try_from(descriptors::limit() / DESCRIPTORS_SHARE).unwrap_or(usize::MAX);
        Connections { max: share.clamp(1, CONNECTIONS_MAX), running: JoinSet::new(), by_age: VecDeque::new() }
    }

    async fn add(&mut self, stream: TcpStream, router: Router) {
        while self.running.try_join_next().is_some() {}
        self.by_age.retain(|connection| !connection.is_finished());
        if self.running.len() >= self.max {
            self.close_oldest().await;
        }
        self.by_age.push_back(self.running.spawn(converse(stream, router)));
    }

    async fn close_oldest(&mut self) {
        if let Some(oldest) = self.by_age.pop_front() {
            oldest.abort();
            // This one or another: the descriptor is free when it returns.
            self.running.join_next().await;
        }
    }
}

/// One connection to its end.
async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // What a client does wrong is its own affair.
    if timeout(CONNECTION_TIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CONNECTION_TIME, connection).await;
    }
}

async fn readyz<F: Fs>(State(overview): State<Arc<Overview<F>>>) -> impl IntoResponse {
    let readiness = overview.readiness();
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness))
}

async fn status<F: Fs>(State(overview): State<Arc<Overview<F>>>) -> impl IntoResponse {
    Json(overview.status())
}

async fn history<F: Fs>(State(overview): State<Arc<Overview<F>>>) -> impl IntoResponse {
    Json(overview.history())
}

async fn metrics<F: Fs>(State(overview): State<Arc<Overview<F>>>, headers: HeaderMap) -> impl IntoResponse {
    // Several lines count as one.
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
    let form = Exposition::wanted(Some(&accepted.join(",")));
    ([(header::CONTENT_TYPE, form.content_type())], overview.encode_metrics(form))
}
