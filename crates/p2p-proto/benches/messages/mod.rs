//! The messages that are measured: the same bytes for every contender.

use bytes::{BufMut, Bytes, BytesMut};
use p2p_proto::{
    Block, BlockHeader, Hash256, Headers, Inventory, InventoryItem, InventoryKind, MerkleTree,
    Message, Network, Nonce, OutPoint, Tx, TxInput, TxOutput, encode_frame,
};

/// Frames carry the magic of mainnet: a contender must know it too.
pub(crate) const NETWORK: Network = Network::Mainnet;
/// What a driver reads at once. As many frames as fit, at least one, are decoded in a row.
const READ_BUFFER: usize = 64 * 1024;

/// A message, and what it is on the wire.
pub(crate) struct Case {
    /// For people: the command and what tells it from the others.
    pub(crate) name: &'static str,
    /// The message.
    pub(crate) message: Message,
    /// Its frame.
    pub(crate) frame: Bytes,
    /// How many frames are decoded or encoded in a row.
    pub(crate) in_a_row: usize,
}

impl Case {
    fn new(name: &'static str, message: Message) -> Self {
        let mut frame = BytesMut::new();
        encode_frame(NETWORK, &message, &mut frame);
        Self {
            name,
            in_a_row: (READ_BUFFER / frame.len()).max(1),
            frame: frame.freeze(),
            message,
        }
    }

    /// A fresh read buffer with the frames in it, each page of it touched.
    pub(crate) fn read_buffer(&self) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(self.frame.len() * self.in_a_row);
        for _ in 0..self.in_a_row {
            buffer.put_slice(&self.frame);
        }
        buffer
    }
}

/// Every case, the smallest payload first.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ping", Message::Ping(Nonce(0x0123_4567_89AB_CDEF))),
        Case::new("inv, 1 entry", Message::Inv(inventory(1))),
        Case::new("tx", Message::Tx(tx(7))),
        Case::new("inv, 1000 entries", Message::Inv(inventory(1000))),
        Case::new("headers, 2000", Message::Headers(headers(2000))),
        Case::new("block, 1 MiB", Message::Block(block(1 << 20))),
        Case::new("block, 32 MiB", Message::Block(block(32 << 20))),
    ]
}

fn inventory(len: u32) -> Inventory {
    Inventory::new((0..len).map(|n| InventoryItem {
        kind: InventoryKind::Tx,
        hash: Hash256::of(&n.to_le_bytes()),
    }))
}

fn headers(len: u32) -> Headers {
    let mut prev = Hash256::ZERO;
    Headers::new((0..len).map(|nonce| {
        let header = header(prev, Hash256::of(&nonce.to_le_bytes()));
        prev = header.hash();
        header
    }))
    .unwrap()
}

fn header(prev: Hash256, merkle_root: Hash256) -> BlockHeader {
    BlockHeader {
        version: 0x2000_0000,
        prev,
        merkle_root,
        time: 1_700_000_000,
        bits: 0x1D00_FFFF,
        nonce: 0,
    }
}

/// 300 bytes, one input and two outputs: the shape of most payments.
fn tx(n: u32) -> Tx {
    let input = TxInput {
        previous: OutPoint {
            txid: Hash256::of(&n.to_le_bytes()),
            index: 1,
        },
        script: &[0x51; 181],
        sequence: u32::MAX,
    };
    let output = TxOutput {
        value: 5_000,
        script: &[0x51; 25],
    };
    Tx::new(1, &[input], &[output; 2], 0).unwrap()
}

/// As many transactions of 300 bytes as fit.
fn block(len: usize) -> Block {
    let count = (len - BlockHeader::LEN - 9) / 300;
    let txs: Vec<_> = (0..count as u32).map(tx).collect();
    let merkle: MerkleTree = txs.iter().map(Tx::txid).collect();
    Block::new(header(Hash256::ZERO, merkle.root().unwrap()), &txs)
}
