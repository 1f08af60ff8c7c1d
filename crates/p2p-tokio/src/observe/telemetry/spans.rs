//! One span for each connection, from the dial or the accept to its end, and one for its
//! handshake.

use std::collections::HashMap;

use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use p2p_core::{ConnId, Setup};
use p2p_proto::{Initiator, Network, Side};

/// The spans of all connections there are.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: SdkTracer,
    open: HashMap<ConnId, Open>,
}

#[derive(Debug)]
struct Open {
    connection: Context,
    handshake: Option<opentelemetry_sdk::trace::Span>,
}

impl Spans {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self {
            tracer,
            open: HashMap::new(),
        }
    }

    pub(super) fn opened(&mut self, setup: &Setup, network: Network) {
        let (kind, connection_type) = match setup.side {
            Side::Inbound => (SpanKind::Server, "inbound"),
            Side::Outbound => (SpanKind::Client, "outbound"),
        };
        let span = self.tracer.span_builder("connection").with_kind(kind);
        let span = span.with_attributes([
            KeyValue::new("peer_id", setup.peer_id.to_string()),
            KeyValue::new("peer_address", setup.params.remote.to_string()),
            KeyValue::new("connection_type", connection_type),
            KeyValue::new("network", network.to_string()),
        ]);
        let span = self.tracer.build_with_context(span, &Context::new());
        let open = Open {
            connection: Context::new().with_span(span),
            handshake: None,
        };
        self.open.insert(setup.conn, open);
        if setup.side == Side::Inbound {
            self.connected(setup.conn);
        }
    }

    pub(super) fn connected(&mut self, conn: ConnId) {
        if let Some(open) = self.open.get_mut(&conn) {
            let span = self.tracer.span_builder("handshake");
            open.handshake = Some(self.tracer.build_with_context(span, &open.connection));
        }
    }

    pub(super) fn shaken_hands(&mut self, conn: ConnId, user_agent: &str) {
        if let Some(open) = self.open.get_mut(&conn)
            && let Some(mut handshake) = open.handshake.take()
        {
            handshake.set_attribute(KeyValue::new("user_agent", user_agent.to_owned()));
            handshake.end();
        }
    }

    pub(super) fn established(&self, conn: ConnId) {
        if let Some(open) = self.open.get(&conn) {
            open.connection.span().add_event("established", Vec::new());
        }
    }

    pub(super) fn ended(&mut self, conn: ConnId, reason: &'static str, initiator: Initiator) {
        let Some(open) = self.open.remove(&conn) else {
            return;
        };
        if let Some(mut handshake) = open.handshake {
            handshake.set_status(Status::error(reason));
            handshake.end();
        }
        let connection = open.connection.span();
        connection.set_attribute(KeyValue::new("reason", reason));
        connection.set_attribute(KeyValue::new("initiator", initiator.name()));
        connection.end();
    }

    /// Whatever is open ends with the node.
    pub(super) fn end(&mut self) {
        let open: Vec<_> = self.open.keys().copied().collect();
        for conn in open {
            self.ended(conn, "shutdown", Initiator::Local);
        }
    }
}
