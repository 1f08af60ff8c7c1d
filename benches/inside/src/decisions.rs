//! The manager with many known peers: a dial fails, the peer is put back, the next is chosen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use p2p_core::netgroup::is_routable;
use p2p_core::{
    Action, Clock, Command, ConnId, DialFailure, Input, Manager, ManagerConfig, Network,
    OperatingMode, Peer, PeerSource, Timestamp,
};
use p2p_proto::{NetworkAddress, PROTOCOL_VERSION, Ready, Version};
use serde_json::{Value, json};

use crate::{Result, cpu_time};

const UNIX: Duration = Duration::from_secs(1_700_000_000);
/// Decisions for a figure, and figures: the median counts.
const DECISIONS: u32 = 500;
const ROUNDS: usize = 9;
/// So many dials a second fail that of the smallest book, too, most are ready.
const STEP: Duration = Duration::from_millis(20);

pub(crate) fn measure(known: u32) -> Result<Value> {
    let now = Instant::now();
    let clock = Clock::new(now, SystemTime::UNIX_EPOCH + UNIX);
    let begun = cpu_time();
    let peers = peers().take(known as usize).collect();
    let manager = Manager::new(config(), OperatingMode::Normal, peers, [7; 32], clock, now)?;
    let mut node = Node {
        manager,
        now,
        dialled: None,
    };
    node.input(Input::Command(Command::Start));
    node.establish()?;
    let filled = cpu_time() - begun;
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu_time();
        for _ in 0..DECISIONS {
            node.decide()?;
        }
        figures.push((cpu_time() - begun).as_secs_f64() * 1e9 / f64::from(DECISIONS));
    }
    figures.sort_by(f64::total_cmp);
    Ok(json!({
        "known": known,
        "decision_ns": figures[ROUNDS / 2],
        "fill_each_ns": filled.as_secs_f64() * 1e9 / f64::from(known),
    }))
}

fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(Network::Mainnet);
    config.target_connections = 1;
    config.min_outbound = Some(1);
    config.dns_seeds = Some(Vec::new());
    // Short, so that who failed comes back within the run.
    config.connection.initial_backoff = Duration::from_secs(1);
    config.connection.max_backoff = Duration::from_secs(1);
    config.inaccessible_retry = Duration::from_secs(1);
    config
}

struct Node {
    manager: Manager,
    now: Instant,
    dialled: Option<ConnId>,
}

impl Node {
    fn input(&mut self, input: Input) {
        self.manager.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            if let Action::Dial { setup, .. } = action {
                self.dialled = Some(setup.conn);
            }
        }
    }

    /// One connection of another's making: no outage, whatever fails.
    fn establish(&mut self) -> Result<()> {
        let remote = SocketAddr::from(([1, 2, 3, 4], 50_000));
        let setup = self.manager.accept(self.now, remote);
        let conn = setup.map_err(|refusal| format!("{refusal:?}"))?.conn;
        let version = Version::minimal(PROTOCOL_VERSION, 0, NetworkAddress::UNSPECIFIED);
        let ready = Box::new(Ready::new(version, 0));
        self.input(Input::Ready { conn, ready });
        Ok(())
    }

    fn decide(&mut self) -> Result<()> {
        self.now += STEP;
        // After many failures in a row the manager pauses, as it would without a network.
        while self.dialled.is_none() {
            let (at, _) = self.manager.poll_timeout().ok_or("nothing is due")?;
            self.now = self.now.max(at);
            self.manager.handle_timeout(self.now);
            self.carry_out();
        }
        let conn = self.dialled.take().ok_or("nobody was dialled")?;
        let failure = DialFailure::Refused;
        self.input(Input::DialFailed { conn, failure });
        Ok(())
    }
}

/// Different peers all over the world.
fn peers() -> impl Iterator<Item = Peer> {
    // An odd factor: no address comes twice.
    let ips = (1..=u32::MAX)
        .map(|number| IpAddr::from(Ipv4Addr::from_bits(number.wrapping_mul(0x9E37_79B1))));
    let now = Timestamp::from_unix(UNIX);
    ips.filter(|&ip| is_routable(ip)).map(move |ip| {
        let address = SocketAddr::new(ip, 8333);
        Peer::new(Network::Mainnet, address, PeerSource::Gossip, now)
    })
}
