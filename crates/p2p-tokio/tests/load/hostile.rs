//! Hundreds of hostile clients at once, and an honest one among them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use p2p_tokio::p2p_proto::{Command, Nonce, encode_frame};
use p2p_tokio::{Message, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::support::*;
use crate::{raise_file_limit, resident, scaled};

/// How a client misbehaves.
#[derive(Debug, Clone, Copy)]
enum Malice {
    Silent,
    /// A byte of its version now and then.
    Slow,
    Garbage,
    /// Announces a payload of a gigabyte.
    Oversize,
    HalfHandshake,
    /// Pings as fast as it can, and reads the pongs.
    Pings,
    /// The same, and reads nothing.
    NeverReads,
}

const KINDS: [Malice; 7] = [
    Malice::Silent,
    Malice::Slow,
    Malice::Garbage,
    Malice::Oversize,
    Malice::HalfHandshake,
    Malice::Pings,
    Malice::NeverReads,
];

fn frame(message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(Network::Regtest, message, &mut bytes);
    bytes
}

/// Misbehaves, again and again, until it is aborted; from an IP of its own, for it will be banned.
async fn misbehave(malice: Malice, n: usize, address: SocketAddr) {
    let from = Ipv4Addr::new(127, 1, (n / 250) as u8, (n % 250) as u8);
    loop {
        // Refused and reset it comes again.
        let _ = once(malice, from, address).await;
        tokio::task::yield_now().await;
    }
}

async fn once(malice: Malice, from: Ipv4Addr, address: SocketAddr) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(address).await?;
    let hello = frame(&version("/Bitcoin SV:1.2.2/"));
    match malice {
        Malice::Silent => {}
        Malice::Slow => {
            for byte in hello.iter() {
                stream.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Malice::Garbage => stream.write_all(&[0x55; 4000]).await?,
        Malice::Oversize => {
            let mut header = frame(&Message::Verack).to_vec();
            header[16..20].copy_from_slice(&(1_u32 << 30).to_le_bytes());
            stream.write_all(&header).await?;
        }
        Malice::HalfHandshake => stream.write_all(&hello).await?,
        Malice::Pings | Malice::NeverReads => {
            stream.write_all(&hello).await?;
            stream.write_all(&frame(&Message::Verack)).await?;
            let ping = frame(&Message::Ping(Nonce(1)));
            let flood = ping.repeat(1000);
            if let Malice::NeverReads = malice {
                loop {
                    stream.write_all(&flood).await?;
                }
            }
            let (mut from, mut to) = stream.split();
            let mut sink = vec![0; 65536];
            tokio::try_join!(
                async {
                    loop {
                        to.write_all(&flood).await?;
                    }
                    #[allow(unreachable_code)]
                    std::io::Result::Ok(())
                },
                async {
                    while from.read(&mut sink).await? > 0 {}
                    Ok(())
                }
            )?;
        }
    }
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

#[test]
fn hostile_clients_do_not_hold_up_an_honest_one() {
    raise_file_limit();
    let count = scaled(70, 490);
    let pings = scaled(100, 2000);
    // Their work is not ours: it gets threads of its own.
    let theirs = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let ours = tokio::runtime::Runtime::new().unwrap();
    ours.block_on(async {
        let mut config = listening();
        (config.target_connections, config.max_connections) = (0, 600);
        (config.max_pending_inbound, config.min_outbound) = (600, Some(0));
        config.connection.handshake_timeout = Duration::from_secs(5);
        let mut node = Node::start(config).await;
        let address = node.address().await;
        let mut honest = RemotePeer::dial(address, 200).await;
        honest.shake_hands().await;
        let before = resident();

        let mut hostile = JoinSet::new();
        for n in 0..count {
            let malice = KINDS[n % KINDS.len()];
            hostile.spawn_on(misbehave(malice, n, address), theirs.handle());
        }
        // All kinds are there: those who shake hands are admitted.
        let floods = 2 * count / KINDS.len();
        node.manager.wait_for_peers(1 + floods, PATIENCE).await.unwrap();
        let mut took = Vec::new();
        for nonce in 0..pings {
            let begun = Instant::now();
            honest.barrier(1_000_000 + nonce).await;
            took.push(begun.elapsed());
        }
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        let grown = resident().saturating_sub(before);
        println!(
            "{count} hostile clients: an honest ping took {:?} at the median, {:?} at the 99th percentile, {:?} at most; memory grew by {} KiB",
            at(50), at(99), at(100), grown / 1024
        );
        assert!(node.manager.get_connection_count() > floods);
        assert!(at(99) < Duration::from_millis(100), "{:?}", at(99));
        // Buffers of reads and of pongs, for each.
        let bound = (count as u64) * 600 * 1024;
        assert!(grown < bound, "{grown} bytes, {bound} at most");
        hostile.abort_all();
        node.manager.shutdown().await;
    });
    theirs.shutdown_background();
}

#[test]
fn garbage_of_every_command_is_survived() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut node = Node::start(listening()).await;
        let address = node.address().await;
        for command in [
            "tx",
            "block",
            "addr",
            "inv",
            "headers",
            "protoconf",
            "nothing",
        ] {
            let mut peer = RemotePeer::dial(address, 2).await;
            peer.shake_hands().await;
            for len in [0, 1, 8, 100, 5000] {
                let command = Command::new(command).unwrap();
                let payload = vec![0xff; len].into();
                let _ = futures_util::SinkExt::send(
                    &mut peer.frames,
                    Message::Unknown { command, payload },
                )
                .await;
            }
            drop(peer);
            node.lost().await;
        }
    });
}
