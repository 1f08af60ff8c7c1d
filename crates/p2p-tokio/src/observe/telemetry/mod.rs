//! Metrics and spans over OTLP, if the configuration says so.
//!
//! Metrics are views of the same counters as [`Stats`](crate::Stats): they are read when they are
//! exported, so that a message costs the same with and without them. Spans are made by the
//! manager's task, one for each connection and one for its handshake, and only while
//! `enable_telemetry` is set. Nothing global is touched: every manager has an exporter of its own.
//! They are listed in [`METRICS`].
//!
//! Where: `telemetry_endpoint`, else `OTEL_EXPORTER_OTLP_ENDPOINT`, else a collector on this host
//! (`http://localhost:4317`). By gRPC without TLS: what leaves the host goes through a collector.

mod ending;
mod export;
mod metrics;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use p2p_core::{ConnId, ManagerConfig, Setup};
use p2p_proto::{Initiator, Network};
use tracing::{debug, info, warn};

pub use metrics::{METRICS, Metric, MetricKind};

use super::Counters;
use crate::ManagerError;
use ending::{Ender, Providers};
use export::Watched;
use spans::Spans;

/// How long one export may take: a collector is near.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last export may hold up the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// The instrumentation scope.
const SCOPE: &str = "p2p-tokio";

/// The telemetry of a manager, which may be off.
#[derive(Debug)]
pub(crate) struct Telemetry {
    counters: Arc<Counters>,
    interval: Option<Duration>,
    running: Option<Running>,
}

/// Telemetry that is ready to be put into force.
#[derive(Debug)]
pub(crate) enum Prepared {
    AsItIs,
    Other(Option<Running>),
}

/// Telemetry that is on.
#[derive(Debug)]
pub(crate) struct Running {
    settings: Settings,
    spans: Spans,
    providers: Option<Providers>,
}

/// What an exporter is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    network: Network,
    endpoint: Option<String>,
    service_name: String,
}

impl Telemetry {
    /// Telemetry that is off. Metrics go out once an interval; `None` is the SDK's, a minute or
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub(crate) fn off(counters: Arc<Counters>, interval: Option<Duration>) -> Self {
        Self {
            counters,
            interval,
            running: None,
        }
    }

    /// Makes what a configuration wants, without putting it into force. Needs a tokio runtime.
    pub(crate) fn prepare(&self, config: &ManagerConfig) -> Result<Prepared, ManagerError> {
        if !config.enable_telemetry {
            return Ok(Prepared::Other(None));
        }
        let settings = Settings {
            network: config.network,
            endpoint: config.telemetry_endpoint.clone(),
            service_name: config.service_name.clone(),
        };
        let in_force = self.running.as_ref().map(|running| &running.settings);
        if in_force == Some(&settings) {
            return Ok(Prepared::AsItIs);
        }
        let running = Running::new(settings, self.interval)?;
        Ok(Prepared::Other(Some(running)))
    }

    /// Puts it into force. What was in force before sends its last in the background.
    pub(crate) fn commit(&mut self, prepared: Prepared) {
        let Prepared::Other(running) = prepared else {
            return;
        };
        self.counters.export_handshakes(None);
        if let Some(running) = &running {
            running.observe(&self.counters);
            let endpoint = running.settings.endpoint.as_deref().unwrap_or("default");
            info!(target: "p2p_tokio", network = %running.settings.network, endpoint, "telemetry is on");
        }
        self.running = running;
    }

    // what happens to connections

    pub(crate) fn opened(&mut self, setup: &Setup) {
        if let Some(running) = &mut self.running {
            let network = running.settings.network;
            running.spans.opened(setup, network);
        }
    }

    pub(crate) fn connected(&mut self, conn: ConnId) {
        if let Some(running) = &mut self.running {
            running.spans.connected(conn);
        }
    }

    pub(crate) fn shaken_hands(&mut self, conn: ConnId, user_agent: &str) {
        if let Some(running) = &mut self.running {
            running.spans.shaken_hands(conn, user_agent);
        }
    }

    pub(crate) fn established(&mut self, conn: ConnId) {
        if let Some(running) = &mut self.running {
            running.spans.established(conn);
        }
    }

    pub(crate) fn ended(&mut self, conn: ConnId, reason: &'static str, initiator: Initiator) {
        if let Some(running) = &mut self.running {
            running.spans.ended(conn, reason, initiator);
        }
    }

    /// Sends what is there, and ends: within this time, whatever the collector does.
    pub(crate) async fn end(mut self, within: Duration) {
        self.counters.export_handshakes(None);
        let Some(mut running) = self.running.take() else {
            return;
        };
        let patience = within.min(FLUSH_WITHIN);
        let ended = running.end();
        match tokio::time::timeout(patience, ended).await {
            Ok(Some(())) => debug!(
                target: "p2p_tokio", network = %running.settings.network, "telemetry flushed"
            ),
            Ok(None) | Err(_) => warn!(
                target: "p2p_tokio", network = %running.settings.network,
                "the last metrics and spans were not taken by the collector"
            ),
        }
    }
}

impl Running {
    fn new(settings: Settings, interval: Option<Duration>) -> Result<Self, ManagerError> {
        let refuse = |why: String| ManagerError::Telemetry { why };
        // Before the SDK's own threads: it does not take it well if there are none.
        let ender = Ender::spawn(thread::Builder::new())
            .map_err(|error| refuse(format!("enable_telemetry: no thread to be had: {error}")))?;
        let endpoint = settings.endpoint.as_deref();
        let mut metrics = MetricExporter::builder()
            .with_tonic()
            .with_timeout(EXPORT_TIMEOUT);
        let mut spans = SpanExporter::builder()
            .with_tonic()
            .with_timeout(EXPORT_TIMEOUT);
        if let Some(endpoint) = endpoint {
            metrics = metrics.with_endpoint(endpoint);
            spans = spans.with_endpoint(endpoint);
        }
        let refused = |error| refuse(format!("telemetry_endpoint: {error}"));
        let (metrics, spans) = (
            metrics.build().map_err(refused)?,
            spans.build().map_err(refused)?,
        );
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("bsv.network", settings.network.to_string()),
            ])
            .build();
        let mut reader = PeriodicReader::builder(Watched::new(metrics, "metrics"));
        if let Some(interval) = interval {
            reader = reader.with_interval(interval);
        }
        let meters = SdkMeterProvider::builder()
            .with_reader(reader.build())
            .with_resource(resource.clone())
            .build();
        let tracers = SdkTracerProvider::builder()
            .with_batch_exporter(Watched::new(spans, "spans"))
            .with_resource(resource)
            .build();
        Ok(Self {
            settings,
            spans: Spans::new(tracers.tracer(SCOPE)),
            providers: Some(Providers {
                meters,
                tracers,
                ender,
            }),
        })
    }

    fn observe(&self, counters: &Arc<Counters>) {
        if let Some(providers) = &self.providers {
            metrics::observe(&providers.meters.meter(SCOPE), counters);
        }
    }

    /// Sends what is there, without blocking. `None` if some of it was not taken.
    fn end(&mut self) -> impl Future<Output = Option<()>> + use<> {
        self.spans.end();
        let ended = self.providers.take().map(Providers::end);
        async move { ended?.await.unwrap_or(false).then_some(()) }
    }
}

impl Drop for Running {
    /// What is replaced, or lost with its runtime, must not hold up a task.
    fn drop(&mut self) {
        if self.providers.is_some() {
            drop(self.end());
        }
    }
}
