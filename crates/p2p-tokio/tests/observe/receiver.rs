//! A collector: takes what is exported over gRPC, and keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, NumberDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::support::PATIENCE;

/// The value of every series, by metric and `label=value` in order.
pub(crate) type Values = BTreeMap<String, BTreeMap<String, u64>>;

/// What arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// As last exported.
    pub(crate) values: Values,
    pub(crate) histograms: BTreeMap<String, BTreeMap<String, HistogramDataPoint>>,
    pub(crate) spans: Vec<Span>,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) exports: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Received>>,
    exports: Arc<watch::Sender<usize>>,
}

impl Receiver {
    /// Listens on loopback until the runtime ends.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener)
    }

    pub(crate) fn on(listener: tokio::net::TcpListener) -> Self {
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            exports: Arc::default(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(MetricsServiceServer::new(receiver.clone()))
            .add_service(TraceServiceServer::new(receiver.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        receiver
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }

    /// The first state of the metrics in which `pick` finds something.
    pub(crate) async fn wait_for<T>(&self, mut pick: impl FnMut(&Received) -> Option<T>) -> T {
        let mut exports = self.exports.subscribe();
        let search = async {
            loop {
                exports.mark_unchanged();
                if let Some(found) = pick(&self.received()) {
                    return found;
                }
                exports.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("did not come: {:#?}", self.received().values))
    }
}

impl Received {
    /// The value of a series: labels as `a=b,c=d` in order of name.
    pub(crate) fn value(&self, metric: &str, labels: &str) -> Option<u64> {
        self.values.get(metric)?.get(labels).copied()
    }

    /// How many series there are.
    pub(crate) fn series(&self) -> usize {
        self.values.values().map(BTreeMap::len).sum()
    }
}

pub(crate) fn text(labels: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |label: &KeyValue| match label.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    };
    let labels = labels
        .iter()
        .map(|label| (label.key.clone(), value(label).unwrap_or_default()));
    labels.collect()
}

fn joined(labels: &[KeyValue]) -> String {
    let labels = text(labels)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

fn number(point: &NumberDataPoint) -> u64 {
    match point.value {
        Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut received = self.received.lock().unwrap();
        for resource in request.into_inner().resource_metrics {
            received.resource = text(&resource.resource.unwrap().attributes);
            let metrics = resource
                .scope_metrics
                .into_iter()
                .flat_map(|scope| scope.metrics);
            for metric in metrics {
                let points = match metric.data.unwrap() {
                    Data::Gauge(gauge) => gauge.data_points,
                    Data::Sum(sum) => sum.data_points,
                    Data::Histogram(histogram) => {
                        let points = histogram.data_points.into_iter();
                        let points = points.map(|point| (joined(&point.attributes), point));
                        received.histograms.insert(metric.name, points.collect());
                        continue;
                    }
                    other => panic!("{other:?}"),
                };
                let points = points
                    .iter()
                    .map(|point| (joined(&point.attributes), number(point)));
                received.values.insert(metric.name, points.collect());
            }
        }
        received.exports += 1;
        let exports = received.exports;
        drop(received);
        self.exports.send_replace(exports);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter();
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        let mut received = self.received.lock().unwrap();
        received.spans.extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
