//! A regtest chain, mined on the spot and the same every time, and the answers that a node with
//! that chain gives.

use p2p_proto::{
    Addr, Block, BlockHeader, BlockLocator, Hash256, Headers, Inventory, InventoryItem,
    InventoryKind, MAX_HEADERS, MerkleTree, Message, NetworkAddress, OutPoint, Services,
    TimedAddress, Tx, TxInput, TxOutput,
};

/// The least difficulty there is: every second hash will do.
const BITS: u32 = 0x207f_ffff;
/// A locking script that anybody can unlock: `OP_TRUE`.
const ANYONE: &[u8] = &[0x51];
/// 50 coins, in satoshi.
const SUBSIDY: i64 = 5_000_000_000;
/// Transactions that are in no block yet.
const MEMPOOL: usize = 3;

/// A chain on top of the regtest genesis block: two transactions in each block, the coinbase and
/// one that spends the coinbase before.
///
/// ```
/// use p2p_sim::chain::Chain;
///
/// let mut chain = Chain::new(10);
/// let hash = chain.mine().hash();
/// assert_eq!(chain.height(), 11);
/// assert_eq!(chain.block(hash).unwrap().tx_count(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    /// From height 1 on.
    blocks: Vec<Block>,
    mempool: Vec<Tx>,
    unspent: OutPoint,
}

impl Chain {
    /// A chain of this height.
    pub fn new(height: usize) -> Self {
        let mut chain = Self {
            blocks: Vec::with_capacity(height),
            mempool: Vec::new(),
            unspent: OutPoint {
                txid: Self::genesis().merkle_root,
                index: 0,
            },
        };
        for _ in 0..height {
            chain.mine();
        }
        let mut unspent = chain.unspent;
        for _ in 0..MEMPOOL {
            let tx = spend(unspent);
            unspent.txid = tx.txid();
            chain.mempool.push(tx);
        }
        chain
    }

    /// The header of the regtest genesis block.
    pub fn genesis() -> BlockHeader {
        BlockHeader {
            version: 1,
            prev: Hash256::ZERO,
            merkle_root: coinbase_of_genesis(),
            time: 1_296_688_602,
            bits: BITS,
            nonce: 2,
        }
    }

    /// Blocks on top of genesis.
    pub fn height(&self) -> usize {
        self.blocks.len()
    }

    /// The header of the newest block.
    pub fn tip(&self) -> BlockHeader {
        self.blocks
            .last()
            .map_or_else(Self::genesis, |block| block.header())
    }

    /// Mines a block on top.
    pub fn mine(&mut self) -> &Block {
        let coinbase = coinbase(self.blocks.len() as u32 + 1);
        let unspent = OutPoint {
            txid: coinbase.txid(),
            index: 0,
        };
        let spent = std::mem::replace(&mut self.unspent, unspent);
        let block = mine_on(&self.tip(), &[coinbase, spend(spent)]);
        self.blocks.push(block);
        &self.blocks[self.blocks.len() - 1]
    }

    /// The block of this hash.
    pub fn block(&self, hash: Hash256) -> Option<&Block> {
        self.blocks.iter().find(|block| block.hash() == hash)
    }

    /// The transaction of this id, if it is in no block yet.
    pub fn unconfirmed(&self, txid: Hash256) -> Option<&Tx> {
        self.mempool.iter().find(|tx| tx.txid() == txid)
    }

    /// What a node with this chain answers: to `getaddr` (with `addresses`), `getheaders`,
    /// `mempool` and `getdata`; nothing to all else.
    pub fn answers(&self, message: &Message, addresses: &[TimedAddress]) -> Vec<Message> {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "announcements and preferences need no answer"
        )]
        match message {
            Message::GetAddr => Addr::new(addresses.iter().copied())
                .map(Message::Addr)
                .into_iter()
                .collect(),
            Message::GetHeaders(locator) => Headers::new(self.headers_after(locator))
                .map(Message::Headers)
                .into_iter()
                .collect(),
            Message::Mempool(_) => {
                let items = self.mempool.iter().map(|tx| InventoryItem {
                    kind: InventoryKind::Tx,
                    hash: tx.txid(),
                });
                vec![Message::Inv(Inventory::new(items))]
            }
            Message::GetData(wanted) => wanted.iter().map(|item| self.answer(item)).collect(),
            _ => Vec::new(),
        }
    }

    /// The headers behind the first hash of the locator that is on the chain, up to its stop.
    fn headers_after(&self, locator: &BlockLocator) -> Vec<BlockHeader> {
        let known = |hash| self.blocks.iter().position(|block| block.hash() == hash);
        // Genesis, or a chain we do not know: from the start.
        let start = locator.hashes().find_map(known).map_or(0, |at| at + 1);
        let stop = known(locator.stop()).map_or(usize::MAX, |at| at + 1);
        let headers = self.blocks.iter().take(stop).skip(start);
        headers
            .map(|block| block.header())
            .take(MAX_HEADERS)
            .collect()
    }

    fn answer(&self, item: InventoryItem) -> Message {
        let found = if item.kind == InventoryKind::Block {
            self.block(item.hash).cloned().map(Message::Block)
        } else if item.kind == InventoryKind::Tx {
            self.unconfirmed(item.hash).cloned().map(Message::Tx)
        } else {
            None
        };
        found.unwrap_or_else(|| Message::NotFound(Inventory::new([item])))
    }
}

/// `count` addresses of loopback, for answers to `getaddr`: whoever dials what it learns stays on
/// this machine.
///
/// ```
/// use p2p_sim::chain::loopback_addresses;
///
/// let addresses = loopback_addresses(3, 18444, 1_700_000_000);
/// assert!(addresses.iter().all(|entry| entry.address.ip.is_loopback()));
/// ```
pub fn loopback_addresses(count: u8, port: u16, time: u32) -> Vec<TimedAddress> {
    let address = |last| TimedAddress {
        time,
        address: NetworkAddress::new(Services::NETWORK, ([127, 0, 1, last], port).into()),
    };
    (1..=count).map(address).collect()
}

fn coinbase_of_genesis() -> Hash256 {
    Hash256::from_bytes([
        0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b, 0x12, 0xb2, 0x7a, 0xc7, 0x2c, 0x3e, 0x67, 0x76, 0x8f,
        0x61, 0x7f, 0xc8, 0x1b, 0xc3, 0x88, 0x8a, 0x51, 0x32, 0x3a, 0x9f, 0xb8, 0xaa, 0x4b, 0x1e,
        0x5e, 0x4a,
    ])
}

fn mine_on(prev: &BlockHeader, txs: &[Tx]) -> Block {
    let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
    let mut header = BlockHeader {
        version: 4,
        prev: prev.hash(),
        merkle_root: tree.root().unwrap_or(Hash256::ZERO),
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
    Tx::new(1, &[input], &[output], 0).expect("one input and one output are not too many")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_is_the_real_one() {
        assert_eq!(
            Chain::genesis().hash().to_string(),
            "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
        );
    }

    #[test]
    fn blocks_meet_their_target_and_hold_what_their_roots_say() {
        let chain = Chain::new(20);
        let mut prev = Chain::genesis().hash();
        for block in &chain.blocks {
            assert_eq!(block.header().prev, prev);
            assert!(block.hash().as_bytes()[31] < 0x7f);
            assert!(
                block
                    .merkle_tree()
                    .unwrap()
                    .is_root(&block.header().merkle_root)
            );
            prev = block.hash();
        }
    }

    #[test]
    fn headers_follow_the_locator_up_to_the_stop() {
        let chain = Chain::new(10);
        let mut hashes = vec![Chain::genesis().hash()];
        hashes.extend(chain.blocks.iter().map(Block::hash));
        let ask = |from: Option<usize>, stop: Option<usize>| {
            let locator = BlockLocator::new(
                70016,
                from.map(|at| hashes[at]),
                stop.map_or(Hash256::ZERO, |at| hashes[at]),
            );
            let headers = chain.headers_after(&locator);
            headers.iter().map(BlockHeader::hash).collect::<Vec<_>>()
        };
        assert_eq!(ask(Some(0), None), hashes[1..]);
        assert_eq!(ask(Some(4), Some(6)), hashes[5..=6]);
        assert_eq!(ask(None, None), hashes[1..]);
        assert_eq!(ask(Some(10), None), []);
        assert_eq!(ask(Some(6), Some(4)), []);
    }
}
