//! What the manager's task sees goes to the log, the counters and the spans here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::{
    ConnId, ConnectionError, ControlEvent, Input, Manager, ManagerConfig, PeerConnection,
    STOP_WITHIN, Setup,
};
use p2p_proto::{CloseReason, Initiator, Side};
use uuid::Uuid;

use super::telemetry::Prepared;
use super::{Counters, Log, LogHandle, Telemetry};
use crate::ManagerError;
use crate::net::connection::now;

/// Sees what the manager's task does. Decides nothing.
#[derive(Debug)]
pub(crate) struct Witness {
    log: Arc<Log>,
    counters: Arc<Counters>,
    log_handle: Option<LogHandle>,
    telemetry: Telemetry,
    /// What the input is about that is being dealt with.
    current: Option<Current>,
    stop_by: Option<Instant>,
}

/// A connection, as events do not name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    conn: ConnId,
    pub(super) peer_id: Uuid,
    pub(super) side: Side,
}

impl Witness {
    pub(crate) fn new(
        log: Arc<Log>,
        counters: Arc<Counters>,
        log_handle: Option<LogHandle>,
        telemetry_interval: Option<Duration>,
    ) -> Self {
        Self {
            log,
            telemetry: Telemetry::off(counters.clone(), telemetry_interval),
            counters,
            log_handle,
            current: None,
            stop_by: None,
        }
    }

    /// Whether a configuration can be observed as it says; hand the answer to
    /// [`configured`](Self::configured) once it is in force.
    pub(crate) fn prepare(&self, config: &ManagerConfig) -> Result<Prepared, ManagerError> {
        self.telemetry.prepare(config)
    }

    pub(crate) fn configured(&mut self, config: &ManagerConfig, prepared: Prepared) {
        self.telemetry.commit(prepared);
        if let Some(log) = &self.log_handle {
            log.set(config.log_level);
        }
    }

    /// A connection is being made, or was accepted.
    pub(crate) fn opened(&mut self, setup: &Setup) {
        self.telemetry.opened(setup);
        if setup.side == Side::Outbound {
            self.counters.dialled();
            self.log.dialling(setup.peer_id, setup.params.remote);
        }
    }

    /// A connection is told to end.
    pub(crate) fn closing(&self, connection: &PeerConnection, reason: &CloseReason) {
        self.log.closing(connection, reason);
    }

    /// The manager is about to hear of this.
    pub(crate) fn hears(&mut self, input: &Input, manager: &Manager) {
        let conn = match input {
            Input::Connected { conn }
            | Input::DialFailed { conn, .. }
            | Input::Ready { conn, .. }
            | Input::Closed { conn, .. } => *conn,
            _ => return,
        };
        let Some(connection) = manager.connection(conn) else {
            return;
        };
        self.current = Some(Current {
            conn,
            peer_id: connection.peer_id(),
            side: connection.side(),
        });
        match input {
            Input::Connected { .. } => {
                self.log.connected(connection);
                self.telemetry.connected(conn);
            }
            Input::Ready { ready, .. } => {
                let user_agent = ready.version.user_agent.to_string();
                self.telemetry.shaken_hands(conn, &user_agent);
            }
            Input::DialFailed { failure, .. } => {
                self.ended(conn, &ConnectionError::Dial(*failure));
            }
            Input::Closed { reason, .. } => {
                self.ended(conn, &ConnectionError::Closed(reason.clone()));
            }
            _ => {}
        }
    }

    /// It has heard of it, and all that follows is done.
    pub(crate) fn heard(&mut self) {
        self.current = None;
    }

    /// Everybody is told of this.
    pub(crate) fn notified(&mut self, event: &ControlEvent) {
        self.log.control_event(event, self.current);
        self.counters.control_event(event);
        match (event, self.current) {
            (ControlEvent::ConnectionEstablished { peer_id, .. }, Some(current))
                if current.peer_id == *peer_id =>
            {
                self.telemetry.established(current.conn);
            }
            (ControlEvent::ShuttingDown, _) => self.stop_by = Some(now() + STOP_WITHIN),
            _ => {}
        }
    }

    /// How things are now.
    pub(crate) fn show(&self, manager: &Manager) {
        self.counters.show(manager);
    }

    /// Nothing happens any more: what is left is told, within the time that the end may take.
    pub(crate) async fn end(self) {
        self.log.tell_left_out();
        let left = self
            .stop_by
            .map_or(STOP_WITHIN, |by| by.saturating_duration_since(now()));
        self.telemetry.end(left).await;
    }

    fn ended(&mut self, conn: ConnId, why: &ConnectionError) {
        let initiator: Initiator = why.initiator();
        self.telemetry.ended(conn, why.name(), initiator);
    }
}
