//! HTTP for operators: `/metrics`, `/livez`, `/readyz` (also `/v1/status/ready`), `/v1/tables`.
//!
//! Ready means: the cluster answered the last time that it was asked for tables. A table that
//! fails does not make the compactor unready; it shows its own error.

use std::future::Future;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::status::Board;

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Every table's state.
    pub board: Arc<Board>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// Serves the pages until `stop` is over.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/status/ready", get(ready))
        .route("/v1/tables", get(tables))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], pages.metrics.text())
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    match pages.board.not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn tables(State(pages): State<Pages>) -> impl IntoResponse {
    Json(pages.board.tables())
}
