//! The manager's task: carries the decisions of [`p2p_core::Manager`] out, and decides nothing.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use p2p_core::{
    Action, ConnId, ControlEvent, Explanation, Input, ManagerConfig, Peer, PeerExplanation, Setup,
};
use p2p_proto::{EncodedMessage, NetworkFailure};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, debug, error, info_span};
use uuid::Uuid;

use super::saver::Job;
use super::view::ConnectionInfo;
use super::{ManagerError, Shared};
use crate::events::Publisher;
use crate::net::connection::{self, Owner, now, set_sleep};
use crate::net::dial::{self, Dial};
use crate::net::link::{Link, TaskEnd, link};
use crate::net::listener::Listener;
use crate::observe::{Meter, Witness};
use crate::resolver::{self, InForce, Question};

/// Something that happened outside.
#[derive(Debug)]
pub(crate) enum Report {
    Input(Input),
    /// A peer has dialled us.
    Accepted(TcpStream, SocketAddr),
    /// Which bans are stored is asked.
    StoredBans(oneshot::Sender<Vec<IpAddr>>),
}

/// Something that the application wants to know, or wants to be done.
#[derive(Debug)]
pub(super) enum Request {
    Command(p2p_core::Command),
    /// Answered when the ban is stored, or the store has failed.
    Ban(IpAddr, oneshot::Sender<Result<(), ManagerError>>),
    UpdateConfig(
        Box<ManagerConfig>,
        oneshot::Sender<Result<(), ManagerError>>,
    ),
    Connections(oneshot::Sender<Vec<ConnectionInfo>>),
    /// Those who have dialled us.
    InboundPeers(oneshot::Sender<Vec<Peer>>),
    /// A page of the book, after an address.
    Peers(Option<SocketAddr>, oneshot::Sender<Vec<Peer>>),
    /// Who in the book, after an address, has this id.
    Seek(Uuid, Option<SocketAddr>, oneshot::Sender<Sought>),
    Explain(oneshot::Sender<Explanation>),
    ExplainPeer(SocketAddr, oneshot::Sender<Option<PeerExplanation>>),
}

/// What became of a search in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought {
    At(SocketAddr),
    /// Nobody up to here: ask again for those after.
    NotUpTo(SocketAddr),
    Nowhere,
}

/// Reports that may wait. Whoever has one to make waits when there are more: its socket is not
/// read meanwhile.
pub(super) const REPORTS: usize = 256;
/// Requests that may wait.
pub(super) const REQUESTS: usize = 64;
/// Peers that one request gets, or looks at: a millisecond of the manager's time.
pub(super) const PAGE: usize = 1000;

pub(super) struct Actor {
    manager: p2p_core::Manager,
    shared: Arc<Shared>,
    publisher: Publisher,
    links: HashMap<ConnId, Arc<Link>>,
    reports: mpsc::Receiver<Report>,
    /// For those who are spawned.
    reporter: mpsc::Sender<Report>,
    jobs: mpsc::Sender<Job>,
    listener: Option<Listener>,
    bans: Vec<(IpAddr, oneshot::Sender<Result<(), ManagerError>>)>,
    witness: Witness,
    resolver: InForce,
    _end: End,
    stopped: bool,
}

impl Actor {
    pub(super) fn new(
        manager: p2p_core::Manager,
        shared: Arc<Shared>,
        reporter: mpsc::Sender<Report>,
        reports: mpsc::Receiver<Report>,
        jobs: mpsc::Sender<Job>,
        witness: Witness,
        resolver: InForce,
    ) -> Self {
        Self {
            publisher: shared.registry.publisher(),
            _end: End(shared.clone()),
            manager,
            shared,
            links: HashMap::new(),
            reports,
            reporter,
            jobs,
            listener: None,
            bans: Vec::new(),
            witness,
            resolver,
            stopped: false,
        }
    }

    /// Runs until everything has ended. Handles that are all gone want a shutdown.
    pub(super) async fn run(mut self, requests: mpsc::Receiver<Request>) {
        self.serve(requests).await;
        // Everybody knows that it has ended before what is left is told.
        self.into_witness().end().await;
    }

    fn into_witness(self) -> Witness {
        self.witness
    }

    async fn serve(&mut self, mut requests: mpsc::Receiver<Request>) {
        self.input(Input::Command(p2p_core::Command::Start));
        let mut sleep = pin!(tokio::time::sleep(std::time::Duration::ZERO));
        let mut has_handles = true;
        while !self.stopped {
            let deadline = self.manager.poll_timeout().map(|(at, _)| at);
            set_sleep(sleep.as_mut(), deadline);
            tokio::select! {
                Some(report) = self.reports.recv() => self.report(report),
                request = requests.recv(), if has_handles => match request {
                    Some(request) => self.request(request),
                    None => {
                        has_handles = false;
                        self.input(Input::Command(p2p_core::Command::Shutdown));
                    }
                },
                () = &mut sleep, if deadline.is_some() => {
                    self.manager.handle_timeout(now());
                    self.carry_out();
                }
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Input(input) => {
                if let Input::Closed { conn, .. } | Input::DialFailed { conn, .. } = input {
                    self.unlink(conn);
                }
                self.witness.hears(&input, &self.manager);
                self.input(input);
                self.witness.heard();
            }
            Report::Accepted(stream, remote) => self.accepted(stream, remote),
            Report::StoredBans(answer) => {
                // Whoever does not wait any more needs no answer.
                let _ = answer.send(self.manager.stored_bans().collect());
            }
        }
    }

    fn request(&mut self, request: Request) {
        // Whoever does not wait for an answer any more needs none.
        match request {
            Request::Command(command) => self.input(Input::Command(command)),
            Request::Ban(ip, answer) => {
                self.bans.retain(|(_, answer)| !answer.is_closed());
                self.bans.push((ip, answer));
                self.input(Input::Command(p2p_core::Command::Ban(ip)));
            }
            Request::UpdateConfig(config, answer) => {
                let updated = self.update_config(*config);
                self.carry_out();
                let _ = answer.send(updated);
            }
            Request::Connections(answer) => {
                let now = now();
                let info = |connection: &p2p_core::PeerConnection| {
                    let link = self.links.get(&connection.id());
                    ConnectionInfo::new(connection, link.map(|link| &**link), now)
                };
                let _ = answer.send(self.manager.connections().map(info).collect());
            }
            Request::Peers(after, answer) => {
                let page = self.manager.peers_after(after).take(PAGE);
                let _ = answer.send(page.cloned().collect());
            }
            Request::Seek(id, after, answer) => {
                let _ = answer.send(self.seek(id, after));
            }
            Request::InboundPeers(answer) => {
                let _ = answer.send(self.manager.inbound_peers().collect());
            }
            Request::Explain(answer) => {
                let _ = answer.send(self.manager.explain());
            }
            Request::ExplainPeer(address, answer) => {
                let _ = answer.send(self.manager.explain_peer(address));
            }
        }
    }

    fn seek(&self, id: Uuid, after: Option<SocketAddr>) -> Sought {
        let mut last = None;
        for peer in self.manager.peers_after(after).take(PAGE) {
            if peer.id == id {
                return Sought::At(peer.address());
            }
            last = Some(peer.address());
        }
        last.map_or(Sought::Nowhere, Sought::NotUpTo)
    }

    /// As a whole or not at all: what can go wrong comes first.
    fn update_config(&mut self, config: ManagerConfig) -> Result<(), ManagerError> {
        let before = self.manager.config();
        before.check_update(&config)?;
        let resolver = self.resolver.prepare(before, &config)?;
        let prepared = self.witness.prepare(&config)?;
        self.manager.update_config(now(), config)?;
        self.witness.configured(self.manager.config(), prepared);
        if let Some(resolver) = resolver {
            self.resolver = resolver;
        }
        Ok(())
    }

    fn input(&mut self, input: Input) {
        self.manager.handle(now(), input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            self.act(action);
        }
        self.show_count();
        self.witness.show(&self.manager);
    }

    fn show_count(&self) {
        let count = self.manager.connection_count();
        self.shared
            .count
            .send_if_modified(|shown| std::mem::replace(shown, count) != count);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { setup, timeout } => self.dial(setup, timeout),
            Action::Admit { conn } => self.with(conn, Link::admit),
            Action::Close { conn, reason } => {
                if let Some(connection) = self.manager.connection(conn) {
                    self.witness.closing(connection, &reason);
                }
                self.with(conn, |link| link.close(reason));
            }
            Action::Configure { conn, config } => self.with(conn, |link| link.configure(config)),
            Action::Send { conn, message } => {
                let message = Arc::new(EncodedMessage::new(self.shared.network, &message));
                // What does not fit nobody misses.
                self.with(conn, |link| {
                    let _ = link.try_send(message);
                });
            }
            Action::Resolve {
                seeds,
                port,
                timeout,
            } => {
                let question = Question {
                    network: self.shared.network,
                    seeds,
                    port,
                    timeout,
                };
                let resolver = self.resolver.resolver();
                let reports = self.reporter.clone();
                self.shared
                    .spawn(resolver::ask(resolver, question, reports));
            }
            Action::Listen { address } => {
                let listener = Listener::spawn(
                    address,
                    self.listener.take(),
                    self.reporter.clone(),
                    self.shared.log.clone(),
                    &self.shared.tasks,
                    self.shared.stop.child_token(),
                );
                self.listener = Some(listener);
            }
            Action::Unlisten { .. } => {
                if let Some(listener) = &self.listener {
                    listener.stop();
                }
            }
            Action::Persist { batch, peers, gone } => {
                self.store(Job::Persist { batch, peers, gone })
            }
            Action::Save => self.store(Job::Save),
            Action::Notify(event) => self.notify(event),
            Action::Stopped => self.stopped = true,
            other => error!(
                target: "p2p_tokio", network = %self.shared.network, action = ?other,
                "the manager wants what this driver cannot do"
            ),
        }
    }

    fn dial(&mut self, setup: Setup, timeout: std::time::Duration) {
        let conn = setup.conn;
        let (owner, task, span) = self.link(&setup, "outbound");
        let from = self.manager.config().dial_from;
        let dial = Dial {
            setup,
            timeout,
            from,
        };
        self.spawn_connection(conn, dial::run(dial, owner, task).instrument(span));
    }

    fn accepted(&mut self, stream: TcpStream, remote: SocketAddr) {
        // A refused one is dropped unread.
        if let Ok(setup) = self.manager.accept(now(), remote) {
            let conn = setup.conn;
            let (owner, task, span) = self.link(&setup, "inbound");
            let connection = setup.connection(now());
            let run = connection::run(stream, connection, owner, task);
            self.spawn_connection(conn, run.instrument(span));
        }
        self.carry_out();
    }

    /// Ties a connection to the manager, and makes what its task needs.
    fn link(&mut self, setup: &Setup, connection_type: &str) -> (Owner, TaskEnd, tracing::Span) {
        self.witness.opened(setup);
        let (conn, peer_id, address) = (setup.conn, setup.peer_id, setup.params.remote);
        let (link, task) = link(conn, address.ip());
        let link = Arc::new(link);
        self.links.insert(conn, link.clone());
        self.shared.links.pin().insert(peer_id, link);
        let owner = Owner {
            conn,
            peer_id,
            address,
            reports: self.reporter.clone(),
            publisher: self.shared.registry.publisher(),
            meter: Meter::new(self.shared.counters.clone(), setup.side, now()),
            log: self.shared.log.clone(),
        };
        let network = self.shared.network;
        let span = info_span!(
            target: "p2p_tokio", "connection", %peer_id, peer_address = %address, connection_type, %network,
        );
        (owner, task, span)
    }

    fn unlink(&mut self, conn: ConnId) {
        if self.links.remove(&conn).is_some() {
            // By then the same peer may have another connection.
            let links = self.shared.links.pin();
            let peer_id = self
                .manager
                .connection(conn)
                .map(|connection| connection.peer_id());
            if let Some(peer_id) = peer_id {
                let is_it = |link: &Arc<Link>| link.conn == conn;
                if links.get(&peer_id).is_some_and(is_it) {
                    links.remove(&peer_id);
                }
            }
        }
    }

    fn with(&self, conn: ConnId, tell: impl FnOnce(&Link)) {
        // One that has just ended needs to be told nothing.
        if let Some(link) = self.links.get(&conn) {
            tell(link);
        }
    }

    fn store(&self, job: Job) {
        let network = self.shared.network;
        match self.jobs.try_send(job) {
            Ok(()) => {}
            // There is room for all that can be under way.
            Err(TrySendError::Full(_)) => error!(
                target: "p2p_tokio", %network, "not stored: more waits than can be under way"
            ),
            // A runtime that is shutting down ends tasks in any order.
            Err(TrySendError::Closed(_)) => debug!(
                target: "p2p_tokio", %network, "not stored: the store's task has ended"
            ),
        }
    }

    fn notify(&mut self, event: ControlEvent) {
        self.witness.notified(&event);
        match &event {
            // The first that is told of a connection that is admitted.
            ControlEvent::HandshakeComplete { peer_id, .. } => {
                // Before anybody hears of it, or counts it, and sends something.
                if let Some(link) = self.shared.links.pin().get(peer_id) {
                    link.open();
                }
            }
            // Stored, or lifted by somebody else before it was.
            ControlEvent::PeerBanned { ip, .. } | ControlEvent::PeerUnbanned { ip } => {
                self.answer_bans(|banned| banned == *ip, || Ok(()))
            }
            ControlEvent::StoreFailed { error } => self.answer_bans(
                |_| true,
                || {
                    Err(ManagerError::BanNotStored {
                        error: error.clone(),
                    })
                },
            ),
            _ => {}
        }
        // Nor does anybody hear of a connection that is not counted.
        self.show_count();
        self.publisher.control(&event);
    }

    fn answer_bans(
        &mut self,
        which: impl Fn(IpAddr) -> bool,
        answer: impl Fn() -> Result<(), ManagerError>,
    ) {
        for (_, waiting) in self.bans.extract_if(.., |(ip, _)| which(*ip)) {
            let _ = waiting.send(answer());
        }
    }

    /// Runs the task of a connection. A bug in it costs that connection alone.
    fn spawn_connection(&self, conn: ConnId, task: impl Future<Output = ()> + Send + 'static) {
        let reports = self.reporter.clone();
        let network = self.shared.network;
        // On the heap: each layer around a future has room for it twice.
        let task = Box::pin(AssertUnwindSafe(task).catch_unwind());
        self.shared.spawn(async move {
            if task.await.is_err() {
                error!(
                    target: "p2p_tokio", %network, %conn,
                    "a bug has ended this connection; the others go on"
                );
                let reason = NetworkFailure::Other(ErrorKind::Other).into();
                let closed = Report::Input(Input::Closed { conn, reason });
                let _ = Box::pin(reports.send(closed)).await;
            }
        });
    }
}

/// Nothing outlives the manager, however it ends.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.stop.cancel();
        shared.links.pin().clear();
        shared.count.send_replace(0);
        shared.counters.show_end();
        shared.registry.end();
    }
}

/// The id of a peer that is connected.
pub(super) type LinksByPeer = papaya::HashMap<Uuid, Arc<Link>>;
