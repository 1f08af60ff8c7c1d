//! Labels come from closed sets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use p2p_core::{BanReason, ConnectionError, ControlEvent, InboundRefusal, Peer};
use p2p_proto::{
    Capacity, Clock, CloseReason, Command, Config, Connection, EncodedMessage, Message, Network,
    Params, Reject, RejectCode, Side, UserAgent, Violation,
};

use super::METRICS;
use crate::observe::Counters;

/// Every series there is.
fn series(counters: &Counters) -> BTreeSet<String> {
    let stats = counters.stats();
    let mut series = BTreeSet::new();
    for metric in METRICS {
        for (_, labels) in (metric.read)(&stats) {
            let names: Vec<_> = labels.iter().map(|label| label.key.as_str()).collect();
            assert_eq!(names, metric.labels, "{}", metric.name);
            series.insert(format!("{} {labels:?}", metric.name));
        }
    }
    series
}

/// All that a peer can cause that nobody has seen before.
fn suffer(counters: &Counters, n: u64) {
    let ip = IpAddr::from(rand::random::<[u8; 4]>());
    let address = SocketAddr::new(ip, rand::random());
    let peer_id = Peer::id_of(Network::Mainnet, address);
    let text = format!("/agent {n} {:x}/", rand::random::<u64>());
    let user_agent = UserAgent::new(text.clone()).unwrap();
    let violation = Violation::OtherChain { user_agent };
    let ban = BanReason::from(&violation);
    for end in [
        CloseReason::Violation(violation),
        CloseReason::RejectedByPeer(Box::new(Reject::new(
            Command::TX,
            RejectCode(rand::random()),
            text,
        ))),
        CloseReason::ObsoleteVersion {
            version: rand::random(),
            least: 31800,
        },
    ] {
        let initiator = end.initiator();
        let reason = ConnectionError::Closed(end);
        for event in [
            ControlEvent::ConnectionFailed {
                peer_id,
                address,
                reason: reason.clone(),
            },
            ControlEvent::ConnectionLost {
                peer_id,
                address,
                reason,
                initiator,
            },
        ] {
            counters.control_event(&event);
        }
    }
    counters.control_event(&ControlEvent::PeerBanned {
        ip,
        reason: ban,
        until: None,
    });
    let reason = InboundRefusal::Banned;
    counters.control_event(&ControlEvent::InboundConnectionRejected { address, reason });
    hear(counters, address, Command::new(&format!("x{n}")).unwrap());
}

/// A peer sends a message of this command.
fn hear(counters: &Counters, remote: SocketAddr, command: Command) {
    let now = Instant::now();
    let params = Params {
        remote,
        nonce: 1,
        seed: [0; 32],
        clock: Clock::new(now, SystemTime::now()),
        capacity: Capacity::Free,
    };
    let config = Arc::new(Config::new(Network::Mainnet));
    let mut connection = Connection::new(config, Side::Inbound, params, now);
    let payload = bytes::Bytes::new();
    let message = Message::Unknown { command, payload };
    let mut bytes = BytesMut::new();
    EncodedMessage::new(Network::Mainnet, &message).encode(&mut bytes);
    connection.receive(now, &mut bytes);
    while let Some(tally) = connection.poll_tally() {
        counters.messages(tally);
    }
}

#[test]
fn ten_thousand_random_agents_and_ips_add_no_series() {
    let counters = Counters::default();
    suffer(&counters, 0);
    let first = series(&counters);
    for n in 1..10_000 {
        suffer(&counters, n);
    }
    let stats = counters.stats();
    assert_eq!(stats.messages_received["other"].messages, 10_000);
    assert_eq!(stats.bans["blockchain_mismatch"], 10_000);
    assert_eq!(series(&counters), first);
}
