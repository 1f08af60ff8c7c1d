//! The documentation names the metrics that there are, and no others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use p2p_tokio::telemetry::{METRICS, MetricKind};
use p2p_tokio::{BanReason, CloseReason, DialFailure, InboundRefusal};
use serde_json::Value;

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(folder.join("../../docs").join(name)).unwrap()
}

/// The names of a metric's series, as the collector writes them for Prometheus.
fn prometheus() -> BTreeSet<String> {
    let names = METRICS.iter().flat_map(|metric| {
        let unit = match metric.unit {
            "By" => "_bytes",
            "s" => "_seconds",
            _ => "",
        };
        let name = metric.name.replace('.', "_") + unit;
        match metric.kind {
            MetricKind::Gauge => vec![name],
            MetricKind::Counter => vec![name + "_total"],
            MetricKind::Histogram => ["_bucket", "_sum", "_count"]
                .map(|part| name.clone() + part)
                .to_vec(),
            other => panic!("how is {other:?} written?"),
        }
    });
    names.collect()
}

/// Every word that begins as our metrics do in Prometheus.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let words = words.filter(|word| word.starts_with("bsv_p2p_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_list_of_metrics_is_complete_and_says_what_is_exported() {
    let text = read("observability.md");
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| `bsv.p2p."))
        .collect();
    assert_eq!(rows.len(), METRICS.len());
    for (row, metric) in rows.iter().zip(METRICS) {
        let kind = match metric.kind {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
            other => panic!("how is {other:?} called?"),
        };
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = format!("`{}`", metric.name);
        let labels = metric.labels.join(", ");
        assert_eq!(cells[1..5], [&*name, kind, metric.unit, &*labels], "{row}");
    }
    let unknown: Vec<_> = words(&text).difference(&prometheus()).cloned().collect();
    assert_eq!(unknown, [] as [&str; 0]);
}

#[test]
fn the_reasons_are_all_explained() {
    let text = read("observability.md");
    let sets = [
        CloseReason::NAMES,
        DialFailure::NAMES,
        BanReason::NAMES,
        InboundRefusal::NAMES,
    ];
    for name in sets.into_iter().flatten() {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_by_its_name() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut shown = BTreeSet::new();
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let names = words(expression);
        assert_eq!(names.len(), 1, "{expression}");
        shown.extend(names);
        assert_eq!(
            expression.matches('(').count(),
            expression.matches(')').count()
        );
    }
    let known = prometheus();
    let unknown: Vec<_> = shown.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let is_shown = |name: &&String| {
        !shown.contains(*name) && !name.ends_with("_sum") && !name.ends_with("_count")
    };
    let missing: Vec<_> = known.iter().filter(is_shown).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut ids: Vec<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
}
