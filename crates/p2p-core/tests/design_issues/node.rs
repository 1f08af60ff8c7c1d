//! A manager without a driver.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use p2p_core::{
    Action, BatchId, Clock, CloseReason, Command, ConnId, ControlEvent, DialFailure,
    InboundRefusal, Input, Manager, ManagerConfig, OperatingMode, Peer, PeerSource, PeerStatus,
    Timestamp,
};
use p2p_proto::Ready;

use crate::{NETWORK, epoch, unix, version};

/// A manager, its time, and what it asked for.
pub(crate) struct Node {
    pub(crate) manager: Manager,
    pub(crate) now: Instant,
    pub(crate) dials: Vec<(ConnId, SocketAddr)>,
    pub(crate) events: Vec<ControlEvent>,
    pub(crate) batches: Vec<(BatchId, Vec<Peer>)>,
    pub(crate) others: Vec<Action>,
    /// Whether the store answers at once.
    pub(crate) store_answers: bool,
}

impl Node {
    pub(crate) fn new(config: ManagerConfig, mode: OperatingMode, known: u8) -> Self {
        let now = epoch();
        let clock = Clock::new(now, SystemTime::UNIX_EPOCH + unix(0));
        let at = Timestamp::from_unix(unix(0));
        let known = (0..known).map(|n| Peer::new(NETWORK, peer(n), PeerSource::Dns, at));
        let manager = Manager::new(config, mode, known.collect(), [3; 32], clock, now).unwrap();
        let mut node = Self {
            manager,
            now,
            dials: Vec::new(),
            events: Vec::new(),
            batches: Vec::new(),
            others: Vec::new(),
            store_answers: true,
        };
        node.command(Command::Start);
        node
    }

    pub(crate) fn with_peers(known: u8) -> Self {
        Self::new(config(), OperatingMode::Normal, known)
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.manager.handle(self.now, input);
        self.drain();
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    pub(crate) fn drain(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                Action::Dial { setup, .. } => self.dials.push((setup.conn, setup.params.remote)),
                Action::Notify(event) => self.events.push(event),
                Action::Persist { batch, peers, .. } => {
                    self.batches.push((batch, peers));
                    if self.store_answers {
                        let result = Ok(());
                        self.manager
                            .handle(self.now, Input::Stored { batch, result });
                    }
                }
                other => self.others.push(other),
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.manager.poll_timeout().filter(|&(at, _)| at <= end) {
            self.now = at;
            self.manager.handle_timeout(at);
            self.drain();
        }
        // Not asked at a moment that nobody named: a wake-up that is missing is to be missed.
        self.now = end;
    }

    pub(crate) fn accept(&mut self, from: SocketAddr) -> Result<ConnId, InboundRefusal> {
        let answer = self.manager.accept(self.now, from).map(|setup| setup.conn);
        self.drain();
        answer
    }

    pub(crate) fn ready(&mut self, conn: ConnId, nonce: u64, port: u16) {
        let ready = Box::new(Ready::new(version(nonce, port), 0));
        self.input(Input::Ready { conn, ready });
    }

    pub(crate) fn establish(&mut self, conn: ConnId) {
        self.input(Input::Connected { conn });
        self.ready(conn, u64::MAX, 0);
    }

    pub(crate) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        self.input(Input::Closed { conn, reason });
    }

    pub(crate) fn fail(&mut self, conn: ConnId) {
        let failure = DialFailure::Refused;
        self.input(Input::DialFailed { conn, failure });
    }

    pub(crate) fn status(&self, n: u8) -> PeerStatus {
        self.manager.explain_peer(peer(n)).unwrap().peer.status
    }

    pub(crate) fn count(&self, which: impl Fn(&Action) -> bool) -> usize {
        self.others.iter().filter(|action| which(action)).count()
    }
}

pub(crate) fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(NETWORK);
    config.target_connections = 3;
    config.max_connections = 5;
    config
}

/// Where a peer listens.
pub(crate) fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([10, n, 0, 1], 8333))
}
