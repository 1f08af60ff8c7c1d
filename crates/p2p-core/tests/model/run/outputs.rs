//! What the manager wants and tells, against what the model allows and expects.

use p2p_core::{Action, CloseReason, ConnId, ConnectionState, ControlEvent, Message};
use p2p_proto::Side;

use super::{Batch, Event, Phase, Run};

impl Run {
    /// Carries out what the manager asks for, and looks at what is left.
    pub(super) fn after(&mut self) {
        self.inputs += 1;
        if self.phase == Phase::Running {
            self.model.expire(self.timestamp());
        }
        while let Some(action) = self.manager.poll_action() {
            self.act(action);
        }
        assert!(self.due.is_empty(), "{:?} did not come", self.due);
        assert!(self.announced.is_empty(), "{:?} alone", self.announced);
        assert!(self.ended.is_empty(), "{:?} ended untold", self.ended);
        assert_eq!(self.asked, None, "neither admitted nor closed");

        self.model.check_connections(self.manager.connections());
        let held = self.model.held();
        let established = self.model.established();
        assert_eq!(self.manager.connection_count(), established);
        assert_eq!(self.manager.explain().pending, held - established);

        let wake = self.manager.poll_timeout();
        assert!(wake.is_none_or(|(at, _)| at > self.now), "{wake:?} is past");
        assert!(self.phase != Phase::Stopped || wake.is_none());
        self.manager.handle_timeout(self.now);
        let again = self.manager.poll_action();
        assert!(again.is_none(), "asked again it wants {again:?}");
        assert_eq!(self.manager.poll_timeout(), wake);
    }

    pub(super) fn act(&mut self, action: Action) {
        assert_ne!(self.phase, Phase::Stopped, "after the end: {action:?}");
        assert!(
            self.due.is_empty() || matches!(action, Action::Notify(_)),
            "{:?} should come before {action:?}",
            self.due
        );
        match action {
            Action::Dial { setup, .. } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(setup.side, Side::Outbound);
                self.model.check_dial(&self.config, setup.params.remote);
                self.link(&setup);
            }
            Action::Admit { conn } => self.admitted(conn),
            Action::Close { conn, reason } => self.told_to_close(conn, &reason),
            Action::Send { conn, message } => {
                assert!(matches!(message, Message::GetAddr | Message::Addr(_)));
                assert_eq!(self.model.links[&conn].state, ConnectionState::Connected);
            }
            Action::Configure { conn, .. } => assert!(self.model.links.contains_key(&conn)),
            Action::Resolve { .. } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(self.model.fixed, None, "DNS in fixed mode");
            }
            Action::Listen { address } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(self.config.listen_on(), Some(address));
                assert_eq!(self.listener.replace(address), None, "two listeners");
            }
            Action::Unlisten { address } => assert_eq!(self.listener.take(), Some(address)),
            Action::Save => {
                assert!(!std::mem::replace(&mut self.saving, true), "two saves");
            }
            Action::Persist { batch, peers, .. } => {
                let bans = peers.into_iter().filter(|peer| peer.port == 0);
                let bans = bans.filter_map(|peer| Some((peer.ip_address, peer.ban?)));
                let batch = Batch {
                    id: batch,
                    bans: bans.collect(),
                };
                assert!(self.under_way.replace(batch).is_none(), "two batches");
            }
            Action::Notify(event) => self.told(event),
            Action::Stopped => {
                assert_eq!(self.phase, Phase::Stopping);
                assert!(self.model.links.is_empty(), "stopped before all is closed");
                self.phase = Phase::Stopped;
            }
            other => panic!("an action that no driver knows: {other:?}"),
        }
    }

    pub(super) fn admitted(&mut self, conn: ConnId) {
        assert_eq!(self.asked.take(), Some(conn), "nobody asked");
        let link = self.model.links.get_mut(&conn).expect("it is there");
        assert_eq!(link.state, ConnectionState::AwaitingHandshake);
        link.state = ConnectionState::Connected;
        link.admitted = true;
        let address = link.address;
        let told = [Event::Complete(address), Event::Established(address)];
        assert_eq!(
            std::mem::take(&mut self.announced),
            told,
            "before admission"
        );
    }

    pub(super) fn told_to_close(&mut self, conn: ConnId, reason: &CloseReason) {
        let link = self.model.links.get_mut(&conn).expect("it is there");
        assert_ne!(
            link.state,
            ConnectionState::Failed,
            "{conn} is closed twice"
        );
        link.state = ConnectionState::Failed;
        link.told = Some(reason.clone());
        self.model.has_evicted |= *reason == CloseReason::Evicted;
        self.asked.take_if(|asked| *asked == conn);
    }

    pub(super) fn told(&mut self, event: ControlEvent) {
        let now = match &event {
            ControlEvent::InboundConnectionAccepted { address, .. } => {
                Some(Event::Accepted(*address))
            }
            ControlEvent::HandshakeComplete { address, .. } => {
                self.announced.push(Event::Complete(*address));
                None
            }
            ControlEvent::ConnectionEstablished { address, .. } => {
                self.announced.push(Event::Established(*address));
                None
            }
            _ => None,
        };
        if now.is_some() {
            assert_eq!(self.due.pop_front(), now);
        }
        match event {
            ControlEvent::ConnectionLost { address, .. } => {
                assert_eq!(self.ended.remove(&address), Some(true), "{address}");
            }
            ControlEvent::ConnectionFailed { address, .. }
            | ControlEvent::ConnectionRejectedCapacity { address, .. } => {
                assert_eq!(self.ended.remove(&address), Some(false), "{address}");
            }
            ControlEvent::PeerBanned { ip, reason, until } => {
                let stored = self.stored.get(&ip);
                let stored = stored.map(|ban| (&ban.reason, ban.until));
                assert_eq!(
                    stored,
                    Some((&reason, until)),
                    "reported before it is stored"
                );
                assert!(self.model.bans.contains_key(&ip), "{ip} is not banned");
                self.unreported.remove(&ip);
            }
            _ => {}
        }
    }
}
