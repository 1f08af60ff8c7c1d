//! Who plays.

use std::time::Duration;

use p2p_core::{ManagerConfig, Network};

use crate::node::NodeSpec;
use crate::rng::Rng;
use crate::time::Skew;

/// Seeds that every network of the simulator has.
const DNS_SEEDS: usize = 3;

/// The configuration of an ordinary node: the defaults, and a listener.
pub fn config() -> ManagerConfig {
    ManagerConfig {
        enable_listener: true,
        dns_seeds: Some(
            (0..DNS_SEEDS)
                .map(|n| format!("seed-{n}.example"))
                .collect(),
        ),
        ..ManagerConfig::new(Network::Mainnet)
    }
}

/// An ordinary node, whose application says something now and then.
pub fn node() -> NodeSpec {
    NodeSpec {
        chatter: Some(Duration::from_secs(30)),
        ..NodeSpec::new(config())
    }
}

/// A node that differs from others: in its clock by up to an hour and a hundredth of a percent,
/// in how much it says, and now and then in its limits, in how long it bans, or in having no
/// listener.
pub fn diverse_node(rng: &mut Rng) -> NodeSpec {
    let mut spec = node();
    spec.skew = Skew {
        wall_millis: rng.below(7_200_000) as i64 - 3_600_000,
        drift_ppm: rng.below(200) as i32 - 100,
    };
    spec.chatter = Some(rng.duration(Duration::from_secs(10), Duration::from_secs(120)));
    spec.config.enable_listener = !rng.chance(100);
    if rng.chance(200) {
        let minutes = Duration::from_secs(60 * rng.within(1..=60));
        spec.config.ban_duration = Some(minutes);
    }
    if rng.chance(200) {
        spec.config.target_connections = rng.within(1..=8) as usize;
        spec.config.max_connections = rng.within(8..=12) as usize;
        spec.config.min_outbound = Some(1);
    }
    spec
}
