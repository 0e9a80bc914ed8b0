//! HTTP: health and metrics, for machines.
//!
//! `/metrics` for Prometheus, `/livez` (and `/healthz`): the process runs; `/readyz` and
//! `/v1/status/ready`: it can do its work, or why it cannot. Damaged partitions are named there,
//! but do not make it unready: that would take all the others away, too.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::broker::Broker;

/// Serves HTTP until `stop` resolves.
pub async fn serve(broker: Arc<Broker>, listener: TcpListener, stop: oneshot::Receiver<()>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/status/ready", get(ready_as_json))
        .with_state(broker);
    let stopped = async {
        // A sender that is gone means stop too.
        let _ = stop.await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the HTTP listener failed");
    }
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Response {
    let page = tokio::task::spawn_blocking(move || {
        broker.refresh_gauges();
        broker.metrics.page()
    });
    match page.await {
        Ok(Ok(page)) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be shown\n").into_response(),
    }
}

/// Why the broker cannot do its work; nothing: it can.
fn unready_reason(broker: &Broker) -> Option<String> {
    let failed = broker.logs.failed()?;
    Some(format!("the log directory failed, nothing more is acknowledged: {failed}"))
}

async fn ready(State(broker): State<Arc<Broker>>) -> Response {
    match unready_reason(&broker) {
        None => {
            let damaged = broker.damaged().into_iter();
            let lines: String = damaged.map(|one| format!("damaged: {one}\n")).collect();
            format!("ready\n{lines}").into_response()
        }
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn ready_as_json(State(broker): State<Arc<Broker>>) -> Response {
    match unready_reason(&broker) {
        None => {
            let mut body = serde_json::json!({"status": "ready"});
            let damaged = broker.damaged();
            if !damaged.is_empty() {
                body["damaged"] = damaged.into();
            }
            axum::Json(body).into_response()
        }
        Some(reason) => {
            let body = axum::Json(serde_json::json!({"status": "not ready", "reason": reason}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}
