//! A chain of regtest blocks, mined on the spot.

use p2p_proto::{
    Block, BlockHeader, BlockLocator, Hash256, Headers, MAX_HEADERS, OutPoint, Tx, TxInput,
    TxOutput,
};

/// The easiest target there is: every second hash meets it.
const REGTEST_BITS: u32 = 0x207f_ffff;
/// 50 coins, in satoshi.
const SUBSIDY: i64 = 5_000_000_000;
/// `OP_TRUE`: anybody may spend it.
const ANYONE_CAN_SPEND: &[u8] = &[0x51];

/// A chain that begins with the regtest genesis block.
#[derive(Debug, Clone)]
pub struct Chain {
    blocks: Vec<Block>,
}

impl Chain {
    /// The genesis block alone.
    pub fn regtest() -> Self {
        let coinbase = coinbase(
            &[
                &[0x04, 0xff, 0xff, 0x00, 0x1d, 0x01, 0x04, 0x45][..],
                b"The Times 03/Jan/2009 Chancellor on brink of second bailout for banks",
            ]
            .concat(),
            &hex_key(),
        );
        let header = BlockHeader {
            version: 1,
            prev: Hash256::ZERO,
            merkle_root: coinbase.txid(),
            time: 1_296_688_602,
            bits: REGTEST_BITS,
            nonce: 2,
        };
        Self {
            blocks: vec![Block::new(header, &[coinbase])],
        }
    }

    /// Blocks on top of genesis.
    pub fn height(&self) -> usize {
        self.blocks.len() - 1
    }

    /// The newest block.
    pub fn tip(&self) -> &Block {
        // There is always genesis.
        &self.blocks[self.height()]
    }

    /// The block of this hash.
    pub fn block(&self, hash: Hash256) -> Option<&Block> {
        self.blocks.iter().find(|block| block.hash() == hash)
    }

    /// Mines a block on top.
    pub fn mine(&mut self) -> &Block {
        let height = self.blocks.len() as u32;
        let coinbase = coinbase(&height_script(height), ANYONE_CAN_SPEND);
        let mut header = BlockHeader {
            version: 0x2000_0000,
            prev: self.tip().hash(),
            merkle_root: coinbase.txid(),
            time: self.tip().header().time + 600,
            bits: REGTEST_BITS,
            nonce: 0,
        };
        // The target is 7fffff…: the most significant bit of the hash must be zero.
        while header.hash().as_bytes()[31] > 0x7f {
            header.nonce += 1;
        }
        self.blocks.push(Block::new(header, &[coinbase]));
        self.tip()
    }

    /// What `getheaders` is answered with.
    pub fn headers_after(&self, locator: &BlockLocator) -> Headers {
        let known = |hash| self.blocks.iter().position(|block| block.hash() == hash);
        let start = locator.hashes().find_map(known).map_or(1, |at| at + 1);
        let stop = known(locator.stop()).unwrap_or(usize::MAX);
        let headers = self
            .blocks
            .iter()
            .enumerate()
            .skip(start)
            .take_while(|(at, _)| *at <= stop)
            .map(|(_, block)| *block.header());
        // No more than fit: nothing to refuse.
        Headers::new(headers.take(MAX_HEADERS)).unwrap_or_else(|_| unreachable!())
    }
}

fn coinbase(script: &[u8], output: &[u8]) -> Tx {
    let input = TxInput {
        previous: OutPoint {
            txid: Hash256::ZERO,
            index: u32::MAX,
        },
        script,
        sequence: u32::MAX,
    };
    let output = TxOutput {
        value: SUBSIDY,
        script: output,
    };
    // One input and one output: nothing to refuse.
    Tx::new(1, &[input], &[output], 0).unwrap_or_else(|_| unreachable!())
}

/// The height, pushed as a coinbase must begin, and a byte more, as it must have two.
fn height_script(height: u32) -> Vec<u8> {
    let mut script = vec![4];
    script.extend_from_slice(&height.to_le_bytes());
    script.push(0);
    script
}

/// The output script of the genesis block: a public key and `OP_CHECKSIG`.
fn hex_key() -> Vec<u8> {
    const KEY: &str = "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb\
                       649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f";
    let digits: Vec<u8> = KEY
        .bytes()
        .map(|b| (b as char).to_digit(16).unwrap_or(0) as u8)
        .collect();
    let mut script = vec![65];
    script.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    script.push(0xac);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_is_the_real_one() {
        assert_eq!(
            Chain::regtest().tip().hash().to_string(),
            "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
        );
    }

    #[test]
    fn headers_follow_the_locator_up_to_the_stop() {
        let mut chain = Chain::regtest();
        for _ in 0..10 {
            chain.mine();
        }
        let hashes: Vec<_> = chain.blocks.iter().map(Block::hash).collect();
        let ask = |from: Option<usize>, stop: Option<usize>| {
            let locator = BlockLocator::new(
                70016,
                from.map(|at| hashes[at]),
                stop.map_or(Hash256::ZERO, |at| hashes[at]),
            );
            let headers = chain.headers_after(&locator);
            headers
                .iter()
                .map(|header| header.hash())
                .collect::<Vec<_>>()
        };
        assert_eq!(ask(Some(0), None), hashes[1..]);
        assert_eq!(ask(Some(4), Some(6)), hashes[5..=6]);
        assert_eq!(ask(None, None), hashes[1..]);
        assert_eq!(ask(Some(10), None), []);
    }
}
