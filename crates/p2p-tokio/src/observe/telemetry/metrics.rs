//! The metrics: what each is called, and how it is read.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use p2p_core::{ConnectionState, PeerStatus};
use p2p_proto::Side;

use crate::observe::histogram::BOUNDS;
use crate::observe::{Counters, Disconnects, MessageCounts, Stats};

/// A metric that is exported.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// Its name in OpenTelemetry. Prometheus writes `_` for `.`, and adds the unit, and `_total`
    /// to counters.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricKind,
    /// Its unit, as in UCUM.
    pub unit: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// Its labels. Their values come from closed sets.
    pub labels: &'static [&'static str],
    pub(super) read: fn(&Stats) -> Vec<Series>,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only grows.
    Counter,
    /// How many were in each range.
    Histogram,
}

type Series = (u64, Vec<KeyValue>);

macro_rules! metrics {
    ($($kind:ident $name:literal in $unit:literal by $labels:expr, $description:literal, $read:expr;)*) => {
        /// Every metric that is exported.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            description: $description,
            labels: &$labels,
            read: $read,
        },)*];
    };
}

metrics! {
    Gauge "bsv.p2p.connections" in "{connection}" by ["direction", "state"],
        "Connections there are.", connections;
    Gauge "bsv.p2p.peers" in "{peer}" by ["status"],
        "Peers in the book.", peers;
    Gauge "bsv.p2p.banned_ips" in "{address}" by [],
        "IPs that are banned.", |stats| one(stats.banned_ips);
    Counter "bsv.p2p.connection.attempts" in "{connection}" by ["direction"],
        "Peers dialled, and connections accepted.", attempts;
    Counter "bsv.p2p.connection.refusals" in "{connection}" by ["reason"],
        "Connections of peers that were dropped unread.", |stats| named(&stats.refused, "reason");
    Counter "bsv.p2p.connection.over_capacity" in "{connection}" by [],
        "Connections of peers that were told that there is no room.",
        |stats| one(stats.rejected_over_capacity);
    Counter "bsv.p2p.connection.established" in "{connection}" by [],
        "Connections that were admitted.", |stats| one(stats.admitted);
    Counter "bsv.p2p.connection.failures" in "{connection}" by ["reason", "initiator"],
        "Connections that ended before they were admitted.", |stats| ends(&stats.failed);
    Counter "bsv.p2p.connection.losses" in "{connection}" by ["reason", "initiator"],
        "Admitted connections that ended.", |stats| ends(&stats.lost);
    Counter "bsv.p2p.connection.restarts" in "{connection}" by [],
        "Lost connections that were made again at once.", |stats| one(stats.restarts);
    Histogram "bsv.p2p.handshake.duration" in "s" by ["direction"],
        "How long handshakes took that were completed.", |_| Vec::new();
    Counter "bsv.p2p.messages" in "{message}" by ["direction", "command"],
        "Messages received, and queued to be sent.", |stats| messages(stats, |count| count.messages);
    Counter "bsv.p2p.message.size" in "By" by ["direction", "command"],
        "Bytes of the payloads of those messages.", |stats| messages(stats, |count| count.bytes);
    Counter "bsv.p2p.network.io" in "By" by ["direction"],
        "Bytes read from sockets, and taken by them.", network;
    Counter "bsv.p2p.frames.dropped" in "{frame}" by [],
        "Frames of peers that were dropped.", |stats| one(stats.frames_dropped);
    Counter "bsv.p2p.misbehaviors" in "{connection}" by [],
        "Connections that were closed for misbehaviour, without a ban.", |stats| one(stats.misbehaved);
    Counter "bsv.p2p.bans" in "{ban}" by ["reason"],
        "Bans.", |stats| named(&stats.bans, "reason");
    Counter "bsv.p2p.unbans" in "{ban}" by [],
        "Bans that were lifted or came to their end.", |stats| one(stats.unbans);
    Counter "bsv.p2p.addresses.discovered" in "{address}" by ["source"],
        "Addresses learned.", |stats| named(&stats.discovered, "source");
    Counter "bsv.p2p.events.lagged" in "{event}" by [],
        "Events that subscribers missed because they were too slow.", |stats| one(stats.events_lagged);
    Counter "bsv.p2p.events.skipped" in "{event}" by [],
        "Messages that subscribers did not get for their size.", |stats| one(stats.events_skipped);
    Counter "bsv.p2p.listener.failures" in "{attempt}" by [],
        "Attempts to listen that failed.", |stats| one(stats.listener_failures);
    Counter "bsv.p2p.store.failures" in "{attempt}" by [],
        "Attempts to store that failed.", |stats| one(stats.store_failures);
    Counter "bsv.p2p.log.left_out" in "{line}" by [],
        "Lines of the log that were left out, because there were too many of their kind.",
        |stats| one(stats.log_lines_left_out);
}

/// Has every metric read from these counters, whenever it is exported.
pub(super) fn observe(meter: &Meter, counters: &Arc<Counters>) {
    for metric in METRICS {
        let Metric {
            name,
            unit,
            description,
            read,
            ..
        } = *metric;
        let counters = counters.clone();
        match metric.kind {
            MetricKind::Gauge => {
                let gauge = meter.u64_observable_gauge(name);
                let gauge = gauge.with_unit(unit).with_description(description);
                gauge
                    .with_callback(move |observer| {
                        for (value, labels) in read(&counters.stats()) {
                            observer.observe(value, &labels);
                        }
                    })
                    .build();
            }
            MetricKind::Counter => {
                let counter = meter.u64_observable_counter(name);
                let counter = counter.with_unit(unit).with_description(description);
                counter
                    .with_callback(move |observer| {
                        for (value, labels) in read(&counters.stats()) {
                            observer.observe(value, &labels);
                        }
                    })
                    .build();
            }
            // There is no histogram that is read: handshakes are rare enough to be told one by one.
            MetricKind::Histogram => {
                let histogram = meter.f64_histogram(name);
                let histogram = histogram
                    .with_unit(unit)
                    .with_description(description)
                    .with_boundaries(BOUNDS.to_vec());
                let histogram = histogram.build();
                counters.export_handshakes(Some(Box::new(move |side, took| {
                    let labels = [KeyValue::new("direction", direction(side))];
                    histogram.record(took.as_secs_f64(), &labels);
                })));
            }
        }
    }
}

fn one(value: u64) -> Vec<Series> {
    vec![(value, Vec::new())]
}

fn named(
    counts: &std::collections::BTreeMap<&'static str, u64>,
    label: &'static str,
) -> Vec<Series> {
    let series = |(&name, &count): (&&'static str, &u64)| (count, vec![KeyValue::new(label, name)]);
    counts.iter().map(series).collect()
}

fn ends(counts: &Disconnects) -> Vec<Series> {
    let series = counts.iter().map(|((reason, initiator), &count)| {
        let reason = KeyValue::new("reason", *reason);
        (
            count,
            vec![reason, KeyValue::new("initiator", initiator.name())],
        )
    });
    series.collect()
}

/// All of them, zeros too: a gauge that is not there looks like one that is broken.
fn connections(stats: &Stats) -> Vec<Series> {
    let mut series = Vec::new();
    for side in [Side::Inbound, Side::Outbound] {
        for state in ConnectionState::ALL {
            // A peer without a connection.
            if state != ConnectionState::Disconnected {
                let labels = vec![
                    KeyValue::new("direction", direction(side)),
                    KeyValue::new("state", state.name()),
                ];
                series.push((stats.connections_in(side, state), labels));
            }
        }
    }
    series
}

fn peers(stats: &Stats) -> Vec<Series> {
    let of = |status: PeerStatus| {
        let labels = vec![KeyValue::new("status", status.name())];
        (stats.peers(status), labels)
    };
    PeerStatus::ALL.map(of).to_vec()
}

fn attempts(stats: &Stats) -> Vec<Series> {
    let of = |count, side| (count, vec![KeyValue::new("direction", direction(side))]);
    vec![
        of(stats.dials, Side::Outbound),
        of(stats.accepted, Side::Inbound),
    ]
}

fn messages(stats: &Stats, count: fn(&MessageCounts) -> u64) -> Vec<Series> {
    let flows = [
        ("received", &stats.messages_received),
        ("sent", &stats.messages_sent),
    ];
    let series = flows.into_iter().flat_map(|(flow, counts)| {
        counts.iter().map(move |(&command, counts)| {
            let flow = KeyValue::new("direction", flow);
            (count(counts), vec![flow, KeyValue::new("command", command)])
        })
    });
    series.collect()
}

fn network(stats: &Stats) -> Vec<Series> {
    let of = |count, flow| (count, vec![KeyValue::new("direction", flow)]);
    vec![
        of(stats.bytes_received, "received"),
        of(stats.bytes_sent, "sent"),
    ]
}

fn direction(side: Side) -> &'static str {
    match side {
        Side::Inbound => "inbound",
        Side::Outbound => "outbound",
    }
}
