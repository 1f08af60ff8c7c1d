//! What may happen: a beginning, and steps.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_core::{CloseReason, DialFailure, ManagerConfig, Network, PeerStatus, UserAgent};
use p2p_proto::{NetworkFailure, Violation};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) settings: Settings,
    pub(crate) fixed: Option<Vec<SocketAddr>>,
    pub(crate) known: Vec<(SocketAddr, PeerStatus)>,
    pub(crate) seed: u8,
    pub(crate) steps: Vec<Step>,
}

/// What of a configuration matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    max: usize,
    target: usize,
    min_outbound: usize,
    over_capacity: usize,
    per_ip: Option<usize>,
    listener: Option<SocketAddr>,
    dns: bool,
    ban_secs: Option<u64>,
}

impl Settings {
    pub(crate) fn config(&self) -> ManagerConfig {
        let mut config = ManagerConfig::new(Network::Regtest);
        config.max_connections = self.max;
        config.target_connections = self.target.min(self.max);
        config.min_outbound = Some(self.min_outbound.min(self.max));
        config.max_over_capacity = self.over_capacity;
        config.max_connections_per_ip = self.per_ip;
        config.max_pending_inbound = 3;
        config.enable_listener = self.listener.is_some();
        if let Some(listener) = self.listener {
            config.listener_address = listener.ip();
            config.listener_port = Some(listener.port());
        }
        config.dns_seeds = self.dns.then(|| vec!["seed.test".into()]);
        config.ban_duration = self.ban_secs.map(Duration::from_secs);
        config
    }
}

/// Which connection is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// One of those that are there.
    Live(usize),
    /// The how many-th that ever was, or will be.
    Any(usize),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Accept(SocketAddr),
    /// What a driver would say next of a connection.
    Next(usize, bool, Hello, CloseReason),
    Connected(Target),
    DialFailed(Target, DialFailure),
    Ready(Target, Hello),
    Closed(Target, CloseReason),
    Gossip(Target, Vec<SocketAddr>),
    AddressesWanted(Target),
    Latency(Target, Duration),
    Resolved(Vec<SocketAddr>),
    /// Where the listener was last asked for, or somewhere else.
    Listening(Option<SocketAddr>, bool),
    /// The batch that is under way, or another one.
    Stored(Option<usize>, bool),
    Saved(bool),
    Changed(SocketAddr, Change),
    Start,
    Shutdown,
    Ban(IpAddr),
    Unban(IpAddr),
    AddPeer(SocketAddr),
    Disconnect(usize),
    Configure(Settings),
    Wait(Duration),
    /// Until the next deadline, or only half of it.
    Deadline(bool),
}

/// What a peer says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) nonce: Nonce,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Nonce {
    Own(u64),
    /// The one that we use in one of our connections.
    Ours(usize),
}

/// What somebody else did to a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Banned(Option<Duration>),
    /// By an operator.
    BannedByHand(Option<Duration>),
    Free,
}

pub(crate) fn scenario() -> impl Strategy<Value = Scenario> {
    let known = vec((address(), select(&STATUSES[..])), 0..12);
    let fixed = prop_oneof![
        3 => Just(None),
        1 => vec(address(), 0..12).prop_map(Some),
    ];
    let steps = vec(step(), 1..250);
    (settings(), fixed, known, any::<u8>(), steps).prop_map(
        |(settings, fixed, known, seed, steps)| Scenario {
            settings,
            fixed,
            known,
            seed,
            steps,
        },
    )
}

const STATUSES: [PeerStatus; 3] = [
    PeerStatus::Valid,
    PeerStatus::Unknown,
    PeerStatus::Inaccessible,
];
const LISTENING: u16 = 8333;

/// Few IPs, so that steps meet.
fn ip() -> impl Strategy<Value = IpAddr> {
    (1_u8..10).prop_map(|n| IpAddr::from([10, 0, 0, n]))
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (ip(), select(&[LISTENING, LISTENING, 0, 4000][..])).prop_map(SocketAddr::from)
}

fn source() -> impl Strategy<Value = SocketAddr> {
    (ip(), select(&[4000_u16, 4001, 4002, LISTENING][..])).prop_map(SocketAddr::from)
}

fn listener() -> impl Strategy<Value = SocketAddr> {
    (1_u8..3).prop_map(|n| SocketAddr::from(([127, 0, 0, n], LISTENING)))
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => any::<usize>().prop_map(Target::Live),
        1 => (0_usize..200).prop_map(Target::Any),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let nonce = prop_oneof![
        20 => any::<u64>().prop_map(Nonce::Own),
        1 => any::<usize>().prop_map(Nonce::Ours),
    ];
    (nonce, select(&[0, LISTENING, LISTENING, 4000][..]))
        .prop_map(|(nonce, port)| Hello { nonce, port })
}

fn failure() -> impl Strategy<Value = DialFailure> {
    select(
        &[
            DialFailure::Refused,
            DialFailure::TimedOut,
            DialFailure::Reset,
        ][..],
    )
}

fn reason() -> impl Strategy<Value = CloseReason> {
    let agent = || UserAgent::from_static("/abc/");
    prop_oneof![
        8 => select(vec![
            CloseReason::Network(NetworkFailure::Eof),
            CloseReason::Network(NetworkFailure::Reset),
            CloseReason::HandshakeTimeout,
            CloseReason::PingTimeout,
            CloseReason::Requested,
        ]),
        1 => select(vec![
            CloseReason::Violation(Violation::OtherChain { user_agent: agent() }),
            CloseReason::OverCapacity,
            CloseReason::SelfConnection,
            CloseReason::Duplicate,
            CloseReason::Evicted,
            CloseReason::Shutdown,
        ]),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let limits = (1_usize..8, 0_usize..8, 0_usize..4, 0_usize..4);
    let per_ip = proptest::option::of(1_usize..4);
    let listener = proptest::option::of(listener());
    let ban_secs = select(&[None, Some(60), Some(24 * 3600)][..]);
    let others = (per_ip, listener, any::<bool>(), ban_secs);
    (limits, others).prop_map(
        |((max, target, min_outbound, over_capacity), (per_ip, listener, dns, ban_secs))| {
            Settings {
                max,
                target,
                min_outbound,
                over_capacity,
                per_ip,
                listener,
                dns,
                ban_secs,
            }
        },
    )
}

fn wait() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0_u64..1000).prop_map(Duration::from_millis),
        (0_u64..120).prop_map(Duration::from_secs),
        (0_u64..72).prop_map(|hours| Duration::from_secs(hours * 3600)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Free),
        Just(Change::Banned(None)),
        (0_u64..1000).prop_map(|secs| Change::Banned(Some(Duration::from_secs(secs)))),
        (0_u64..1000).prop_map(|secs| Change::BannedByHand(Some(Duration::from_secs(secs)))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let next = (any::<usize>(), any::<bool>(), hello(), reason());
    let asked = prop_oneof![4 => Just(None), 1 => listener().prop_map(Some)];
    let batch = prop_oneof![8 => Just(None), 1 => (0_usize..100).prop_map(Some)];
    let connections = prop_oneof![
        10 => source().prop_map(Step::Accept),
        30 => next.prop_map(|(at, well, hello, reason)| Step::Next(at, well, hello, reason)),
        1 => target().prop_map(Step::Connected),
        3 => (target(), failure()).prop_map(|(target, failure)| Step::DialFailed(target, failure)),
        2 => (target(), hello()).prop_map(|(target, hello)| Step::Ready(target, hello)),
        6 => (target(), reason()).prop_map(|(target, reason)| Step::Closed(target, reason)),
        2 => (target(), vec(address(), 0..4)).prop_map(|(target, named)| Step::Gossip(target, named)),
        1 => target().prop_map(Step::AddressesWanted),
        1 => (target(), wait()).prop_map(|(target, latency)| Step::Latency(target, latency)),
        2 => any::<usize>().prop_map(Step::Disconnect),
    ];
    let others = prop_oneof![
        2 => vec(address(), 0..4).prop_map(Step::Resolved),
        2 => (asked, any::<bool>()).prop_map(|(at, well)| Step::Listening(at, well)),
        16 => (batch, prop::bool::weighted(0.9)).prop_map(|(batch, ok)| Step::Stored(batch, ok)),
        2 => prop::bool::weighted(0.9).prop_map(Step::Saved),
        1 => (address(), change()).prop_map(|(at, change)| Step::Changed(at, change)),
        2 => Just(Step::Start),
        2 => ip().prop_map(Step::Ban),
        2 => ip().prop_map(Step::Unban),
        3 => address().prop_map(Step::AddPeer),
        2 => settings().prop_map(Step::Configure),
        8 => wait().prop_map(Step::Wait),
        8 => any::<bool>().prop_map(Step::Deadline),
    ];
    prop_oneof![
        240 => connections,
        200 => others,
        1 => Just(Step::Shutdown),
    ]
}
