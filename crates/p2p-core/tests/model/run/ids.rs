//! The names of connections and batches, which only a manager can give.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::SystemTime;

use p2p_core::{
    Action, BatchId, Clock, CloseReason, Command, ConnId, Input, Manager, ManagerConfig,
    OperatingMode,
};

use super::{NETWORK, epoch};

/// The names that a manager will give, in order: taken from one that only gives names.
pub(super) struct Ids {
    pub(super) connections: Vec<ConnId>,
    pub(super) batches: Vec<BatchId>,
}

pub(super) static IDS: LazyLock<Ids> = LazyLock::new(|| {
    let now = epoch();
    let clock = Clock::new(now, SystemTime::UNIX_EPOCH);
    let config = ManagerConfig::new(NETWORK);
    let mode = OperatingMode::Normal;
    let manager = Manager::new(config, mode, Vec::new(), [0; 32], clock, now);
    let mut manager = manager.expect("the configuration is valid");
    manager.handle(now, Input::Command(Command::Start));
    let mut ids = Ids {
        connections: Vec::new(),
        batches: Vec::new(),
    };
    for n in 1..2000_u16 {
        let from = SocketAddr::from(([10, 0, 0, 1], n));
        let conn = manager.accept(now, from).expect("there is room").conn;
        let reason = CloseReason::Requested;
        manager.handle(now, Input::Closed { conn, reason });
        ids.connections.push(conn);
        manager.handle(now, Input::Command(Command::Ban([10, 0, 0, 2].into())));
        manager.handle(now, Input::Command(Command::Unban([10, 0, 0, 2].into())));
        while let Some(action) = manager.poll_action() {
            if let Action::Persist { batch, .. } = action {
                ids.batches.push(batch);
                let result = Ok(());
                manager.handle(now, Input::Stored { batch, result });
            }
        }
    }
    ids
});
