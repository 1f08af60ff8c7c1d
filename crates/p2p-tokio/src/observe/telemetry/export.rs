//! Says once that the collector does not take what it is sent, and once that it does again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{info, warn};

/// An exporter whose failures are told: the first of a row, however long it is.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    what: &'static str,
    fails: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, what: &'static str) -> Self {
        Self {
            exporter,
            what,
            fails: AtomicBool::new(false),
        }
    }

    fn note(&self, result: OTelSdkResult) -> OTelSdkResult {
        let what = self.what;
        let failed_before = self.fails.swap(result.is_err(), Ordering::Relaxed);
        match (&result, failed_before) {
            (Err(error), false) => {
                let error = error.to_string();
                warn!(target: "p2p_tokio", what, error, "telemetry not exported; tried again, the network goes on");
            }
            (Ok(()), true) => info!(target: "p2p_tokio", what, "telemetry is exported again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        result
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.note(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.note(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing::{Level, Subscriber};
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// The levels of what was logged.
    #[derive(Debug, Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Levels {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn a_row_of_failures_is_told_once_and_so_is_its_end() {
        let levels = Levels::default();
        let subscriber = Registry::default().with(levels.clone());
        let exporter = Watched::new((), "metrics");
        let failed = || Err(OTelSdkError::InternalFailure("gone".into()));
        tracing::subscriber::with_default(subscriber, || {
            for result in [
                Ok(()),
                failed(),
                failed(),
                failed(),
                Ok(()),
                Ok(()),
                failed(),
            ] {
                let was_ok = result.is_ok();
                assert_eq!(exporter.note(result).is_ok(), was_ok);
            }
        });
        let levels = levels.0.lock().unwrap().clone();
        assert_eq!(levels, [Level::WARN, Level::INFO, Level::WARN]);
    }
}
