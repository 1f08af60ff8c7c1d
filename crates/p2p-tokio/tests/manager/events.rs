//! Who hears what: several at once, too slow, too late, and without a gap.

use std::time::Duration;

use bytes::Bytes;
use p2p_tokio::p2p_proto::Nonce;
use p2p_tokio::{
    BitcoinMessages, Command, ControlEvent, Event, Filter, Message, PayloadEvent, PeerEvent,
    RecvError,
};

use crate::support::*;

fn numbered(n: u64) -> Message {
    Message::Ping(Nonce(n))
}

fn number(message: &Message) -> Option<u64> {
    match message {
        Message::Ping(Nonce(n)) => Some(*n),
        _ => None,
    }
}

fn large(len: usize) -> Message {
    let command = Command::new("large").unwrap();
    let payload = vec![7; len].into();
    Message::Unknown { command, payload }
}

/// A listener of these settings, and a peer that is connected to it.
async fn connected(config: p2p_tokio::ManagerConfig) -> (Node, RemotePeer) {
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    (node, peer)
}

/// The numbers up to `last`, and how many were missed.
async fn numbers_to(last: u64, messages: &mut BitcoinMessages) -> (Vec<u64>, u64) {
    let (mut seen, mut missed) = (Vec::new(), 0);
    while seen.last() != Some(&last) {
        match messages.recv().await {
            Ok(event) => seen.extend(number(&event.message)),
            Err(RecvError::Lagged(count)) => missed += count,
            Err(error) => panic!("{error}"),
        }
    }
    (seen, missed)
}

#[tokio::test]
async fn test_manager_broadcasts_bitcoin_messages() {
    let (node, mut first) = connected(listening()).await;
    let mut messages = node.manager.subscribe_bitcoin_messages();
    let mut second = RemotePeer::dial(node.listens_at.unwrap(), 3).await;
    second.shake_hands().await;
    node.manager.wait_for_peers(2, PATIENCE).await.unwrap();
    first.send(numbered(2)).await;
    second.send(numbered(3)).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let event = messages.recv().await.unwrap();
        if let Some(n) = number(&event.message) {
            heard.push((event.address.ip(), n));
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, [(loopback(2), 2), (loopback(3), 3)]);
}

#[tokio::test]
async fn test_multiple_subscribers_receive_events() {
    let (node, mut peer) = connected(listening()).await;
    let mut first = node.manager.subscribe_bitcoin_messages();
    let mut second = node.manager.subscribe_bitcoin_messages();
    for n in 0..100 {
        peer.send(numbered(n)).await;
    }
    let all: Vec<u64> = (0..100).collect();
    assert_eq!(numbers_to(99, &mut first).await, (all.clone(), 0));
    assert_eq!(numbers_to(99, &mut second).await, (all, 0));
}

#[tokio::test]
async fn test_channel_overflow_handling() {
    let mut config = listening();
    config.event_channel_capacity = 10;
    let (node, mut peer) = connected(config).await;
    let mut slow = node.manager.subscribe_bitcoin_messages();
    let mut quick = node.manager.subscribe_bitcoin_messages();
    let mut quick_seen = Vec::new();
    for n in 0..100 {
        peer.send(numbered(n)).await;
        quick_seen.extend(numbers_to(n, &mut quick).await.0);
    }
    // The slow one has cost neither the network nor the other anything.
    assert_eq!(quick_seen, (0..100).collect::<Vec<_>>());
    assert_eq!(slow.len(), 10);
    for n in 0..10 {
        let event = slow.recv().await.unwrap();
        assert_eq!(number(&event.message), Some(n));
    }
    assert_eq!(slow.recv().await, Err(RecvError::Lagged(90)));
    peer.send(numbered(100)).await;
    assert_eq!(numbers_to(100, &mut slow).await, (vec![100], 0));
}

#[tokio::test]
async fn a_gap_is_told_where_it_is() {
    let mut config = listening();
    config.event_channel_capacity = 4;
    let (node, mut peer) = connected(config).await;
    let mut slow = node.manager.subscribe_bitcoin_messages();
    for n in 0..10 {
        peer.send(numbered(n)).await;
    }
    peer.barrier(10).await;
    // One is read, so that the next one has room, behind a gap.
    assert_eq!(number(&slow.recv().await.unwrap().message), Some(0));
    peer.barrier(11).await;
    let mut story = Vec::new();
    for _ in 0..5 {
        story.push(slow.recv().await.map(|event| number(&event.message)));
    }
    let gap = Err(RecvError::Lagged(7));
    assert_eq!(
        story,
        [Ok(Some(1)), Ok(Some(2)), Ok(Some(3)), gap, Ok(Some(11))]
    );
}

#[tokio::test]
async fn test_late_subscriber_doesnt_receive_old_events() {
    let (node, mut peer) = connected(listening()).await;
    peer.barrier(1).await;
    let mut late = node.manager.subscribe_bitcoin_messages();
    let mut late_control = node.manager.subscribe_control_events();
    peer.barrier(2).await;
    assert_eq!(numbers_to(2, &mut late).await, (vec![2], 0));
    drop(peer);
    let first = late_control.recv().await.unwrap();
    assert!(
        matches!(first, ControlEvent::ConnectionLost { .. }),
        "{first:?}"
    );
}

#[tokio::test]
async fn test_channel_capacity_configuration() {
    for capacity in [1, 7, 64] {
        let mut config = listening();
        config.event_channel_capacity = capacity;
        let (node, mut peer) = connected(config).await;
        let mut messages = node.manager.subscribe_bitcoin_messages();
        for n in 0..100 {
            peer.send(numbered(n)).await;
        }
        peer.barrier(100).await;
        assert_eq!(messages.len(), capacity);
        for _ in 0..capacity {
            messages.recv().await.unwrap();
        }
        let missed = 101 - capacity as u64;
        assert_eq!(messages.recv().await, Err(RecvError::Lagged(missed)));
    }
}

#[tokio::test]
async fn what_does_not_fit_in_bytes_is_announced_as_skipped() {
    let mut config = listening();
    config.event_channel_bytes = 1_000_000;
    config.connection.stream_above = 900_000;
    let (node, mut peer) = connected(config).await;
    let mut slow = node.manager.subscribe_bitcoin_messages();
    for _ in 0..3 {
        peer.send(large(400_000)).await;
    }
    peer.barrier(5).await;
    for _ in 0..2 {
        assert_eq!(slow.recv().await.unwrap().message.payload_len(), 400_000);
    }
    let Err(RecvError::Skipped(skipped)) = slow.recv().await else {
        panic!("the third did not fit");
    };
    assert_eq!(
        (skipped.command.as_str(), skipped.length),
        ("large", 400_000)
    );
    assert_eq!(numbers_to(5, &mut slow).await, (vec![5], 0));
    // What was read has made room.
    peer.send(large(400_000)).await;
    assert_eq!(slow.recv().await.unwrap().message.payload_len(), 400_000);
}

#[tokio::test]
async fn of_one_peer_comes_established_then_messages_then_lost() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut events = node.manager.events();
    for _ in 0..20 {
        let mut peer = RemotePeer::dial(address, 2).await;
        // Everything at once: messages wait behind the handshake.
        peer.send(version("/Bitcoin SV:1.2.2/")).await;
        peer.send(Message::Verack).await;
        for n in 0..20 {
            peer.send(numbered(n)).await;
        }
        peer.barrier(20).await;
        drop(peer);
        let mut story = Vec::new();
        loop {
            match events.recv().await.unwrap() {
                Event::Control(ControlEvent::ConnectionEstablished { .. }) => story.push(1000),
                Event::Control(ControlEvent::ConnectionLost { .. }) => break,
                Event::Message(event) => story.extend(number(&event.message)),
                _ => {}
            }
        }
        let expected: Vec<u64> = [1000].into_iter().chain(0..=20).collect();
        assert_eq!(story, expected);
    }
}

#[tokio::test]
async fn who_must_miss_nothing_holds_up_its_peer_alone() {
    let (mut node, mut talker) = connected(listening()).await;
    let mut all = node
        .manager
        .subscribe_lossless(Filter::commands([Command::new("large").unwrap()]), 4);
    // More than the queue, the connection's buffers and the sockets hold.
    let (count, len) = (400_u64, 100_000);
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            talker.send(large(len)).await;
        }
        talker
    });
    let mut got = 0;
    let mut story = Vec::new();
    while got < count {
        match all.recv().await.unwrap() {
            PeerEvent::Message(event) => {
                assert_eq!(event.message.payload_len(), len);
                got += 1;
            }
            event => story.push(event),
        }
    }
    assert!(
        matches!(&story[..], [PeerEvent::Established { .. }]),
        "{story:?}"
    );
    drop(sender.await.unwrap());
    assert!(matches!(all.recv().await, Some(PeerEvent::Lost { .. })));
    node.lost().await;
}

#[tokio::test]
async fn what_came_at_once_is_delivered_to_its_end_however_little_room_there_is() {
    let (node, mut talker) = connected(listening()).await;
    let filter = || Filter::commands([Command::PING]);
    let mut narrow = node.manager.subscribe_lossless(filter(), 1);
    // Nothing comes behind them that could wake anybody.
    talker.send_all((0..3000).map(numbered)).await;
    let mut next = 0;
    while next < 3000 {
        if let PeerEvent::Message(event) = narrow.recv().await.unwrap() {
            assert_eq!(number(&event.message), Some(next));
            next += 1;
        }
    }
}

/// Reader and connection on processors of their own: room comes at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_that_comes_while_a_connection_looks_for_it_is_not_overlooked() {
    let (node, mut talker) = connected(listening()).await;
    let filter = Filter::commands([Command::PING]);
    let mut narrow = node.manager.subscribe_lossless(filter, 8);
    let (rounds, at_once) = (500, 400);
    let sender = tokio::spawn(async move {
        for last in (1..=rounds).map(|round| round * at_once - 1) {
            talker
                .send_all((last + 1 - at_once..last).map(numbered))
                .await;
            talker.barrier(last).await;
        }
        talker
    });
    let mut next = 0;
    while next < rounds * at_once {
        let event = tokio::time::timeout(PATIENCE, narrow.recv()).await;
        if let PeerEvent::Message(event) = event.expect("the next one comes").unwrap() {
            assert_eq!(number(&event.message), Some(next));
            next += 1;
        }
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn room_that_was_kept_for_what_a_subscriber_does_not_want_is_given_back() {
    let (node, mut talker) = connected(listening()).await;
    let filter = Filter::commands([Command::PING]);
    let mut narrow = node.manager.subscribe_lossless(filter, 8);
    // For each that is wanted come three that are not.
    let others = |n| [numbered(n), large(1), large(1), large(1)];
    talker.send_all((0..1000).flat_map(others)).await;
    let mut next = 0;
    while next < 1000 {
        let event = tokio::time::timeout(PATIENCE, narrow.recv()).await;
        if let PeerEvent::Message(event) = event.expect("the next one comes").unwrap() {
            assert_eq!(number(&event.message), Some(next));
            next += 1;
        }
    }
}

/// More than the buffers of the sockets hold.
#[tokio::test]
async fn a_blocked_consumer_costs_no_peer_and_no_ping() {
    blocked_consumer(200, 100_000).await;
}

/// All of it is read at once, and waits there.
#[tokio::test]
async fn a_consumer_that_is_blocked_by_little_costs_no_peer_and_no_ping() {
    blocked_consumer(10, 100).await;
}

async fn blocked_consumer(messages: u32, len: usize) {
    let mut config = listening();
    // A pong that is late by this would end a connection that is not read.
    config.connection.ping_interval = Duration::from_millis(100);
    config.connection.ping_timeout = Duration::from_millis(400);
    let (mut node, mut talker) = connected(config).await;
    let address = node.manager.connections().await.unwrap()[0].peer_id;
    let listens_at = node.listens_at.unwrap();
    let mut blocked = node.manager.subscribe_lossless(
        Filter::commands([Command::new("large").unwrap()]).of_peers([address]),
        1,
    );
    let mut quiet = RemotePeer::dial(listens_at, 3).await;
    quiet.shake_hands().await;
    node.established().await;
    let quiet = tokio::spawn(async move {
        // Answers pings, and measures that they go on.
        let mut pings = 0;
        while pings < 15 {
            if let Some(Message::Ping(nonce)) = quiet.recv().await {
                quiet.send(Message::Pong(nonce)).await;
                pings += 1;
            }
        }
        quiet
    });
    let flood = tokio::spawn(async move {
        talker.send_all((0..messages).map(|_| large(len))).await;
        talker
    });
    // The consumer reads nothing for as long as fifteen pings of the quiet peer take.
    let _quiet = quiet.await.unwrap();
    assert_eq!(node.manager.get_connection_count(), 2);
    let mut got = 0;
    while got < messages {
        let event = tokio::time::timeout(PATIENCE, blocked.recv()).await;
        if let PeerEvent::Message(_) = event.expect("the next one comes").unwrap() {
            got += 1;
        }
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_subscriber_never_reads_hangs_up_when_it_is_told_to() {
    let (node, mut talker) = connected(listening()).await;
    let filter = Filter::commands([Command::PING]);
    let mut blocked = node.manager.subscribe_lossless(filter, 1);
    talker.send_all((0..100).map(numbered)).await;
    // The first is answered and delivered, and those behind it find no room.
    talker
        .wait_for(|message| matches!(message, Message::Pong(_)).then_some(()))
        .await;
    let peer_id = node.manager.connections().await.unwrap()[0].peer_id;
    node.manager.disconnect_peer(peer_id).await.unwrap();
    talker.end().await;
    // What it has made of the bytes is delivered yet, in order, and its end.
    let mut next = 0;
    loop {
        match blocked.recv().await.unwrap() {
            PeerEvent::Message(event) => {
                assert_eq!(number(&event.message), Some(next));
                next += 1;
            }
            PeerEvent::Lost { .. } => break,
            _ => {}
        }
    }
    assert!((1..100).contains(&next), "{next}");
}

#[tokio::test]
async fn a_connection_that_had_to_wait_is_not_read_before_there_is_room() {
    let (node, mut talker) = connected(listening()).await;
    let filter = Filter::commands([Command::new("large").unwrap()]);
    let mut narrow = node.manager.subscribe_lossless(filter, 1);
    talker.send_all((0..10).map(|_| large(100))).await;
    let mut got = 0;
    while got < 10 {
        got += usize::from(matches!(narrow.recv().await, Some(PeerEvent::Message(_))));
    }
    // The news of another peer takes all the room.
    let mut other = RemotePeer::dial(node.listens_at.unwrap(), 3).await;
    other.shake_hands().await;
    other.barrier(1).await;
    let early = tokio::time::timeout(Duration::from_millis(300), talker.barrier(2)).await;
    assert!(early.is_err(), "it was read");
    assert!(matches!(
        narrow.recv().await,
        Some(PeerEvent::Established { .. })
    ));
    talker
        .wait_for(|message| (*message == Message::Pong(Nonce(2))).then_some(()))
        .await;
}

#[tokio::test]
async fn big_payloads_come_in_pieces_to_who_asked_and_are_skipped_for_others() {
    let mut config = listening();
    config.connection.stream_above = 64 * 1024;
    let (node, mut peer) = connected(config).await;
    let command = Command::new("large").unwrap();
    let mut pieces = node
        .manager
        .subscribe_lossless(Filter::commands([command]).with_payloads(), 8);
    let mut messages = node.manager.subscribe_bitcoin_messages();
    let len = 1_000_000;
    let sender = tokio::spawn(async move {
        peer.send(large(len)).await;
        peer.barrier(9).await;
        peer
    });
    assert!(matches!(
        pieces.recv().await,
        Some(PeerEvent::Established { .. })
    ));
    let mut bytes = 0;
    let mut next = async || match pieces.recv().await {
        Some(PeerEvent::Payload { event, .. }) => event,
        other => panic!("{other:?}"),
    };
    let begin = next().await;
    assert!(
        matches!(
            begin,
            PayloadEvent::Begin {
                length: 1_000_000,
                ..
            }
        ),
        "{begin:?}"
    );
    loop {
        match next().await {
            PayloadEvent::Chunk(chunk) => {
                assert!(chunk.iter().all(|byte| *byte == 7));
                bytes += Bytes::len(&chunk);
            }
            PayloadEvent::End { checksum_ok } => {
                assert_eq!(checksum_ok, Some(true));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes, len);
    let skipped = messages.recv().await;
    assert!(matches!(skipped, Err(RecvError::Skipped(skipped)) if skipped.length == 1_000_000));
    assert_eq!(numbers_to(9, &mut messages).await, (vec![9], 0));
    sender.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_within_a_payload_is_told_as_lost() {
    let mut config = listening();
    config.connection.stream_above = 64 * 1024;
    let (node, mut peer) = connected(config).await;
    let mut pieces = node
        .manager
        .subscribe_lossless(Filter::all().with_payloads(), 8);
    let mut frame = bytes::BytesMut::new();
    p2p_tokio::p2p_proto::encode_frame(p2p_tokio::Network::Regtest, &large(1_000_000), &mut frame);
    use tokio::io::AsyncWriteExt;
    peer.frames
        .get_mut()
        .write_all(&frame[..500_000])
        .await
        .unwrap();
    drop(peer);
    let mut last = None;
    loop {
        match pieces.recv().await.unwrap() {
            PeerEvent::Lost { .. } => break,
            event => last = Some(event),
        }
    }
    assert!(
        matches!(
            last,
            Some(PeerEvent::Payload {
                event: PayloadEvent::Chunk(_) | PayloadEvent::Begin { .. },
                ..
            })
        ),
        "{last:?}"
    );
}

#[tokio::test]
async fn everything_that_waits_can_be_taken_at_once() {
    let (node, mut peer) = connected(listening()).await;
    let mut messages = node.manager.subscribe_bitcoin_messages();
    // More than the runtime lets a task have in one turn.
    for n in 0..900 {
        peer.send(numbered(n)).await;
    }
    peer.barrier(900).await;
    let mut taken = 0;
    while let Some(event) = messages.try_recv().unwrap() {
        assert_eq!(number(&event.message), Some(taken));
        taken += 1;
    }
    assert_eq!(taken, 901);
}
