//! A short regtest chain, mined on the spot and the same every time.

use p2p_proto::{Block, BlockHeader, Hash256, MerkleTree, OutPoint, Tx, TxInput, TxOutput};

/// The least difficulty there is: every second hash will do.
const BITS: u32 = 0x207f_ffff;

/// A locking script that anybody can unlock: OP_TRUE.
const ANYONE: &[u8] = &[0x51];

const SUBSIDY: i64 = 50 * 100_000_000;

/// The header of the regtest genesis block.
pub(crate) fn genesis() -> BlockHeader {
    BlockHeader {
        version: 1,
        prev: Hash256::ZERO,
        merkle_root: "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
            .parse()
            .unwrap(),
        time: 1_296_688_602,
        bits: BITS,
        nonce: 2,
    }
}

/// Blocks of two transactions each on top of genesis, and a few transactions in no block yet.
pub(crate) struct Chain {
    /// From height 1.
    pub blocks: Vec<Block>,
    pub mempool: Vec<Tx>,
}

impl Chain {
    /// A chain of this height.
    pub(crate) fn mine(height: u32) -> Self {
        let mut prev = genesis();
        let mut blocks = Vec::new();
        let mut mempool = Vec::new();
        let mut spent = OutPoint {
            txid: prev.merkle_root,
            index: 0,
        };
        for height in 1..=height {
            let coinbase = coinbase(height);
            let next = OutPoint {
                txid: coinbase.txid(),
                index: 0,
            };
            let block = block(&prev, &[coinbase, spend(spent)]);
            prev = *block.header();
            blocks.push(block);
            spent = next;
        }
        for _ in 0..3 {
            let tx = spend(spent);
            spent = OutPoint {
                txid: tx.txid(),
                index: 0,
            };
            mempool.push(tx);
        }
        Self { blocks, mempool }
    }

    /// The headers that follow the first of these hashes that is on the chain.
    pub(crate) fn headers_after(&self, locator: impl Iterator<Item = Hash256>) -> Vec<BlockHeader> {
        let headers: Vec<_> = self.blocks.iter().map(|block| *block.header()).collect();
        for hash in locator {
            if let Some(at) = headers.iter().position(|header| header.hash() == hash) {
                return headers[at + 1..].to_vec();
            }
            if hash == genesis().hash() {
                break;
            }
        }
        headers
    }

    pub(crate) fn block(&self, hash: Hash256) -> Option<&Block> {
        self.blocks.iter().find(|block| block.hash() == hash)
    }

    pub(crate) fn tx(&self, txid: Hash256) -> Option<&Tx> {
        self.mempool.iter().find(|tx| tx.txid() == txid)
    }
}

fn block(prev: &BlockHeader, txs: &[Tx]) -> Block {
    let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
    let mut header = BlockHeader {
        version: 4,
        prev: prev.hash(),
        merkle_root: tree.root().unwrap(),
        time: prev.time + 600,
        bits: BITS,
        nonce: 0,
    };
    // The highest byte of the target is 7f.
    while header.hash().as_bytes()[31] >= 0x7f {
        header.nonce += 1;
    }
    Block::new(header, txs)
}

/// Its script begins with the height, so that no two are the same.
fn coinbase(height: u32) -> Tx {
    let mut script = vec![4];
    script.extend_from_slice(&height.to_le_bytes());
    let previous = OutPoint {
        txid: Hash256::ZERO,
        index: u32::MAX,
    };
    tx(previous, &script)
}

fn spend(previous: OutPoint) -> Tx {
    tx(previous, &[])
}

fn tx(previous: OutPoint, script: &[u8]) -> Tx {
    let input = TxInput {
        previous,
        script,
        sequence: u32::MAX,
    };
    let output = TxOutput {
        value: SUBSIDY,
        script: ANYONE,
    };
    Tx::new(1, &[input], &[output], 0).unwrap()
}
