//! Strategies for every message that there is.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use p2p_proto::codec::WriteExt;
use p2p_proto::{
    Addr, AuthChallenge, Block, BlockHeader, BlockLocator, BlockTxn, CmpctBlock, Command,
    ConflictingBlock, DatarefTx, DsDetected, EnrichedHeader, EnrichedHeaders, FeeFilter,
    GetBlockTxn, Hash256, Inventory, InventoryItem, Mempool, MerkleBlock, MerkleProof, Message,
    NetworkAddress, Nonce, OutPoint, PrefilledTx, ProofSubject, ProofTarget, RevokeMid, SendCmpct,
    Services, ShortId, TimedAddress, Tx, TxInput, TxOutput, UserAgent, Version, VersionFields,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Any message, each variant as likely as any other.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let unknown = unknown().boxed();
    prop_oneof![
        36 => select(Command::KNOWN).prop_flat_map(message_of),
        4 => unknown,
    ]
}

/// Any message of a command that has a variant of its own.
pub(crate) fn message_of(command: Command) -> BoxedStrategy<Message> {
    match command {
        Command::VERACK => Just(Message::Verack).boxed(),
        Command::SENDHEADERS => Just(Message::SendHeaders).boxed(),
        Command::SENDHDRSEN => Just(Message::SendHdrsEn).boxed(),
        Command::GETADDR => Just(Message::GetAddr).boxed(),
        Command::FILTERCLEAR => Just(Message::FilterClear).boxed(),
        Command::PING => any::<u64>().prop_map(|n| Message::Ping(Nonce(n))).boxed(),
        Command::PONG => any::<u64>().prop_map(|n| Message::Pong(Nonce(n))).boxed(),
        Command::VERSION => version()
            .prop_map(|v| Message::Version(Box::new(v)))
            .boxed(),
        Command::INV => inventory().prop_map(Message::Inv).boxed(),
        Command::GETDATA => inventory().prop_map(Message::GetData).boxed(),
        Command::NOTFOUND => inventory().prop_map(Message::NotFound).boxed(),
        Command::ADDR => addr().prop_map(Message::Addr).boxed(),
        Command::GETBLOCKS => locator().prop_map(Message::GetBlocks).boxed(),
        Command::GETHEADERS => locator().prop_map(Message::GetHeaders).boxed(),
        Command::GETHDRSEN => locator().prop_map(Message::GetHdrsEn).boxed(),
        Command::TX => tx().prop_map(Message::Tx).boxed(),
        Command::BLOCK => (header(), vec(tx(), 0..4))
            .prop_map(|(header, txs)| Message::Block(Block::new(header, &txs)))
            .boxed(),
        Command::MERKLEBLOCK => merkle_block()
            .prop_map(|b| Message::MerkleBlock(Box::new(b)))
            .boxed(),
        Command::CMPCTBLOCK => compact_block()
            .prop_map(|b| Message::CmpctBlock(Box::new(b)))
            .boxed(),
        Command::GETBLOCKTXN => (hash(), ascending())
            .prop_map(|(hash, at)| Message::GetBlockTxn(GetBlockTxn::new(hash, at).unwrap()))
            .boxed(),
        Command::BLOCKTXN => (hash(), vec(tx(), 0..4))
            .prop_map(|(hash, txs)| Message::BlockTxn(BlockTxn::new(hash, &txs)))
            .boxed(),
        Command::HDRSEN => vec(enriched_header(), 0..4)
            .prop_map(|headers| Message::HdrsEn(EnrichedHeaders::new(&headers)))
            .boxed(),
        Command::DATAREFTX => (tx(), proof())
            .prop_map(|(tx, proof)| Message::DatarefTx(Box::new(DatarefTx::new(&tx, &proof))))
            .boxed(),
        Command::DSDETECTED => ds_detected().prop_map(Message::DsDetected).boxed(),
        Command::SENDCMPCT => (any::<bool>(), any::<u64>())
            .prop_map(|(announce, version)| Message::SendCmpct(SendCmpct { announce, version }))
            .boxed(),
        Command::FEEFILTER => any::<i64>()
            .prop_map(|satoshi_per_kb| Message::FeeFilter(FeeFilter { satoshi_per_kb }))
            .boxed(),
        Command::MEMPOOL => mempool().prop_map(Message::Mempool).boxed(),
        Command::REVOKEMID => revoke_mid()
            .prop_map(|m| Message::RevokeMid(Box::new(m)))
            .boxed(),
        Command::AUTHCH => (any::<u32>(), any::<[u8; 32]>())
            .prop_map(|(version, challenge)| {
                Message::AuthChallenge(AuthChallenge { version, challenge })
            })
            .boxed(),
        _ => payload_of(command)
            .prop_map(move |payload| Message::decode(command, &payload).unwrap())
            .boxed(),
    }
}

/// Payloads of the messages that only peers make, or that we make in one form only.
fn payload_of(command: Command) -> BoxedStrategy<BytesMut> {
    match command {
        Command::HEADERS => vec((header(), compact_size()), 0..6)
            .prop_map(headers)
            .boxed(),
        Command::PROTOCONF => (1..5_u64, 1 << 20..=u32::MAX, bytes(650), bytes(40))
            .prop_map(|(fields, limit, policies, newer)| {
                let mut out = BytesMut::new();
                out.put_compact_size(fields);
                out.put_u32_le(limit);
                if fields >= 2 {
                    out.put_var_bytes(&policies);
                }
                if fields >= 3 {
                    out.put_slice(&newer);
                }
                out
            })
            .boxed(),
        Command::REJECT => (rejected(), any::<u8>(), bytes(111), option::of(hash()))
            .prop_map(|(command, code, reason, hash)| {
                let mut out = BytesMut::new();
                out.put_var_bytes(&command);
                out.put_u8(code);
                out.put_var_bytes(&reason);
                if let (b"tx" | b"block", Some(hash)) = (&command[..], hash) {
                    out.put_hash(&hash);
                }
                out
            })
            .boxed(),
        Command::CREATESTRM => (bytes(129), any::<u8>(), bytes(64))
            .prop_map(|(association, kind, policy)| {
                let mut out = stream(&association, kind);
                out.put_var_bytes(&policy);
                out
            })
            .boxed(),
        Command::STREAMACK => (bytes(129), any::<u8>())
            .prop_map(|(association, kind)| stream(&association, kind))
            .boxed(),
        Command::AUTHRESP => (vec(any::<u8>(), 33), any::<u64>(), bytes(72))
            .prop_map(|(key, nonce, signature)| {
                let mut out = BytesMut::new();
                out.put_var_bytes(&key);
                out.put_u64_le(nonce);
                out.put_var_bytes(&signature);
                out
            })
            .boxed(),
        Command::FILTERLOAD => (large_bytes(36_000), any::<u32>(), any::<u32>(), any::<u8>())
            .prop_map(|(filter, functions, tweak, flags)| {
                let mut out = BytesMut::new();
                out.put_var_bytes(&filter);
                out.put_u32_le(functions);
                out.put_u32_le(tweak);
                out.put_u8(flags);
                out
            })
            .boxed(),
        Command::FILTERADD => bytes(520)
            .prop_map(|element| {
                let mut out = BytesMut::new();
                out.put_var_bytes(&element);
                out
            })
            .boxed(),
        other => panic!("no strategy for {other}"),
    }
}

/// A command without a variant, with any payload.
pub(crate) fn unknown() -> impl Strategy<Value = Message> {
    let known = |name: &Command| *name != Command::EXTMSG && !Command::KNOWN.contains(name);
    let command = "[ -~]{0,12}"
        .prop_map(|name| Command::new(&name).unwrap())
        .prop_filter("a command of its own", known);
    (command, large_bytes(20_000))
        .prop_map(|(command, payload)| Message::Unknown { command, payload })
}

pub(crate) fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

/// Mostly few, sometimes many: one byte over and over, for speed.
fn large_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => bytes(40),
        1 => (any::<u8>(), 0..=most).prop_map(|(byte, len)| Bytes::from(vec![byte; len])),
    ]
}

fn compact_size() -> impl Strategy<Value = u64> {
    prop_oneof![0..0x1_0000_u64, any::<u64>()]
}

fn hash() -> impl Strategy<Value = Hash256> {
    any::<[u8; 32]>().prop_map(Hash256::from_bytes)
}

fn address() -> impl Strategy<Value = NetworkAddress> {
    (any::<u64>(), any::<IpAddr>(), any::<u16>()).prop_map(|(services, ip, port)| {
        NetworkAddress::new(Services(services), SocketAddr::new(ip, port))
    })
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    let fields = select(vec![
        VersionFields::Receiver,
        VersionFields::Sender,
        VersionFields::UserAgent,
        VersionFields::StartHeight,
        VersionFields::Relay,
        VersionFields::AssociationId,
    ]);
    let known = (any::<i32>(), any::<u64>(), any::<i64>(), address());
    let more = (
        address(),
        any::<u64>(),
        bytes(256),
        any::<i32>(),
        any::<bool>(),
        bytes(129),
    );
    (known, more, fields).prop_map(|(known, more, fields)| {
        let (number, services, timestamp, addr_recv) = known;
        let (addr_from, nonce, agent, start_height, relay, association_id) = more;
        let mut version = Version::minimal(number, timestamp, addr_recv);
        version.services = Services(services);
        version.fields = fields;
        // What is not sent is what a reader takes in its place.
        if fields >= VersionFields::Sender {
            version.addr_from = addr_from;
            version.nonce = nonce;
        }
        if fields >= VersionFields::UserAgent {
            version.user_agent = UserAgent::new(agent).unwrap();
        }
        if fields >= VersionFields::StartHeight {
            version.start_height = start_height;
        }
        if fields >= VersionFields::Relay {
            version.relay = relay;
        }
        if fields >= VersionFields::AssociationId {
            version.association_id = association_id;
        }
        version
    })
}

fn inventory() -> impl Strategy<Value = Inventory> {
    let item = (prop_oneof![0..8_u32, any::<u32>()], hash());
    vec(item, 0..300).prop_map(|items| {
        Inventory::new(items.into_iter().map(|(kind, hash)| InventoryItem {
            kind: kind.into(),
            hash,
        }))
    })
}

fn addr() -> impl Strategy<Value = Addr> {
    let entry = (any::<u32>(), address());
    vec(entry, 0..20).prop_map(|entries| {
        let timed = |(time, address)| TimedAddress { time, address };
        Addr::new(entries.into_iter().map(timed)).unwrap()
    })
}

fn locator() -> impl Strategy<Value = BlockLocator> {
    (any::<u32>(), vec(hash(), 0..300), hash())
        .prop_map(|(version, hashes, stop)| BlockLocator::new(version, hashes, stop))
}

fn header() -> impl Strategy<Value = BlockHeader> {
    vec(any::<u8>(), 80).prop_map(|bytes| {
        let bytes: [u8; 80] = bytes.try_into().unwrap();
        BlockHeader::from_bytes(&bytes)
    })
}

fn headers(items: Vec<(BlockHeader, u64)>) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_compact_size(items.len() as u64);
    for (header, tx_count) in items {
        header.encode(&mut out);
        out.put_compact_size(tx_count);
    }
    out
}

pub(crate) fn tx() -> impl Strategy<Value = Tx> {
    let input = (hash(), any::<u32>(), large_bytes(6000), any::<u32>());
    let output = (any::<i64>(), large_bytes(6000));
    (
        any::<i32>(),
        vec(input, 0..3),
        vec(output, 0..3),
        any::<u32>(),
    )
        .prop_map(|(version, inputs, outputs, lock_time)| {
            let inputs: Vec<_> = inputs
                .iter()
                .map(|(txid, index, script, sequence)| TxInput {
                    previous: OutPoint {
                        txid: *txid,
                        index: *index,
                    },
                    script,
                    sequence: *sequence,
                })
                .collect();
            let outputs: Vec<_> = outputs
                .iter()
                .map(|(value, script)| TxOutput {
                    value: *value,
                    script,
                })
                .collect();
            Tx::new(version, &inputs, &outputs, lock_time).unwrap()
        })
}

fn merkle_block() -> impl Strategy<Value = MerkleBlock> {
    (header(), any::<u32>(), vec(hash(), 0..20), bytes(300))
        .prop_map(|(header, total, hashes, flags)| MerkleBlock::new(header, total, hashes, &flags))
}

fn compact_block() -> impl Strategy<Value = CmpctBlock> {
    let short_id = any::<[u8; 6]>().prop_map(ShortId::from_bytes);
    (
        header(),
        any::<u64>(),
        vec((short_id, any::<bool>()), 0..300),
        vec(tx(), 0..3),
    )
        .prop_map(|(header, nonce, places, txs)| {
            // A prefilled transaction at each marked place, as long as there are some.
            let mut txs = txs.into_iter();
            let mut prefilled = Vec::new();
            let mut short_ids = Vec::new();
            for (index, (short_id, marked)) in (0..).zip(places) {
                match marked.then(|| txs.next()).flatten() {
                    Some(tx) => prefilled.push(PrefilledTx { index, tx }),
                    None => short_ids.push(short_id),
                }
            }
            CmpctBlock::new(header, nonce, &short_ids, &prefilled).unwrap()
        })
}

fn ascending() -> impl Strategy<Value = Vec<u32>> {
    vec(prop_oneof![0..1000_u32, any::<u32>()], 0..300).prop_map(|mut indexes| {
        indexes.sort_unstable();
        indexes.dedup();
        indexes
    })
}

fn proof() -> impl Strategy<Value = MerkleProof> {
    let subject = prop_oneof![
        hash().prop_map(ProofSubject::Txid),
        tx().prop_map(ProofSubject::Tx),
    ];
    let target = prop_oneof![
        hash().prop_map(ProofTarget::BlockHash),
        hash().prop_map(ProofTarget::MerkleRoot),
    ];
    (compact_size(), subject, target, vec(hash(), 0..10)).prop_map(
        |(index, subject, target, nodes)| MerkleProof {
            index,
            subject,
            target,
            nodes,
        },
    )
}

fn enriched_header() -> impl Strategy<Value = EnrichedHeader> {
    let proven = || option::of((tx(), proof()));
    (header(), compact_size(), any::<bool>(), proven(), proven()).prop_map(
        |(header, tx_count, no_more_headers, coinbase, miner_info)| EnrichedHeader {
            header,
            tx_count,
            no_more_headers,
            coinbase,
            miner_info,
        },
    )
}

fn ds_detected() -> impl Strategy<Value = DsDetected> {
    let block = (vec(header(), 0..4), proof())
        .prop_map(|(headers, proof)| ConflictingBlock { headers, proof });
    (any::<u16>(), vec(block, 0..4)).prop_map(|(version, blocks)| DsDetected::new(version, &blocks))
}

fn mempool() -> impl Strategy<Value = Mempool> {
    prop_oneof![
        Just(Mempool::All),
        option::of(any::<i64>()).prop_map(|age| Mempool::Recent { age }),
    ]
}

fn revoke_mid() -> impl Strategy<Value = RevokeMid> {
    let key = || vec(any::<u8>(), 33).prop_map(|key| <[u8; 33]>::try_from(key).unwrap());
    (any::<u32>(), key(), key(), key(), bytes(72), bytes(72)).prop_map(
        |(version, revocation_key, miner_id, revoked_id, first, second)| RevokeMid {
            version,
            revocation_key,
            miner_id,
            revoked_id,
            revocation_signature: first,
            miner_signature: second,
        },
    )
}

fn rejected() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        bytes(12),
        Just(Bytes::from_static(b"tx")),
        Just(Bytes::from_static(b"block")),
    ]
}

fn stream(association: &[u8], kind: u8) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_var_bytes(association);
    out.put_u8(kind);
    out
}
