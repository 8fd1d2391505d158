//! The HTTP server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use thiserror::Error;
use tokio::net::TcpListener;

use super::page;
use super::status::Overview;
use crate::journal::Fs;
use crate::shutdown::Shutdown;

/// OpenMetrics, which Prometheus has asked for by default since 2.5.
const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
pub async fn serve<F: Fs>(listener: TcpListener, overview: Arc<Overview<F>>, mut shutdown: Shutdown) {
    let router = Router::new()
        .route("/", get(async || page::answer()))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz::<F>))
        .route("/status", get(status::<F>))
        .route("/history", get(history::<F>))
        .route("/metrics", get(metrics::<F>))
        .with_state(overview);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.requested().await });
    if let Err(error) = serving.await {
        tracing::warn!(%error, "the HTTP server ended; messages go on flowing");
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

async fn metrics<F: Fs>(State(overview): State<Arc<Overview<F>>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], overview.encode_metrics())
}
