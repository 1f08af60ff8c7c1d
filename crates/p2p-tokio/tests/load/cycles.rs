//! Connections come and go, and leave nothing behind.

use std::time::Duration;

use p2p_tokio::ControlEvent;

use crate::support::*;
use crate::{raise_file_limit, resident, scaled};

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[test]
fn what_ends_leaves_nothing_behind() {
    raise_file_limit();
    let cycles = scaled(2_000, 50_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = listening();
        (config.target_connections, config.max_connections) = (0, 64);
        config.connection.handshake_timeout = Duration::from_millis(50);
        let mut node = Node::start(config).await;
        let address = node.address().await;
        let round = async |node: &mut Node, from: usize, count: usize| {
            for n in from..from + count {
                match n % 10 {
                    // Gone without a word, gone in the middle of a word, and in good order.
                    0 => drop(RemotePeer::dial(address, 2).await),
                    1 => {
                        RemotePeer::dial(address, 2)
                            .await
                            .send(version("/Bitcoin SV:1.2.2/"))
                            .await
                    }
                    _ => RemotePeer::dial(address, 2).await.shake_hands().await,
                }
                let is_end = |event: &ControlEvent| {
                    matches!(
                        event,
                        ControlEvent::ConnectionLost { .. } | ControlEvent::ConnectionFailed { .. }
                    )
                    .then_some(())
                };
                node.control(is_end).await;
            }
        };
        // The allocator and the runtime have what they need after some.
        round(&mut node, 0, 1_000).await;
        let (tasks_before, before) = (tasks(), resident());
        round(&mut node, 1_000, cycles).await;
        let grown = resident().saturating_sub(before);
        println!(
            "{cycles} connections came and went: {} tasks before, {} after; memory grew by {} KiB",
            tasks_before,
            tasks(),
            grown / 1024
        );
        assert_eq!(tasks(), tasks_before);
        assert!(grown < 4 * 1024 * 1024, "{grown} bytes");
        let explained = node.manager.explain().await.unwrap();
        assert_eq!((explained.connected, explained.pending), (0, 0));
        node.manager.shutdown().await;
    });
}
