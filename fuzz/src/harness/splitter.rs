//! A streamed block taken apart, against the same block whole.

use bytes::{Bytes, BytesMut};
use p2p_proto::{Block, BlockPart, BlockSummary, DecodeError, Hash256, Tx, TxSplitter};

use super::input::{Input, pieces};
use super::message::walk_tx;

/// A block comes apart the same way whole and in any pieces, and as [`Block`] says.
///
/// Input: the longest transaction that comes whole, the cuts, whether to put the right merkle
/// root in; then the payload.
pub fn splitter(data: &[u8]) {
    let mut input = Input::new(data);
    let max_tx = input.pick(&[p2p_proto::MAX_WHOLE_TX, 0, 60, 100, 300]);
    let seed = input.u8();
    let fix_root = input.u8() & 1 == 0;
    let mut payload = input.rest().to_vec();
    if fix_root {
        put_root(&mut payload);
    }
    let payload = Bytes::from(payload);

    let whole = split(max_tx, [payload.clone()]);
    let cut = split(max_tx, pieces(&payload, seed).map(Bytes::copy_from_slice));
    assert_eq!(cut, whole);
    if let Ok(block) = Block::parse(payload) {
        compare(&block, &whole, fix_root);
    }
}

/// The header's merkle root made that of the transactions, where they can be read.
fn put_root(payload: &mut [u8]) {
    let Ok(block) = Block::parse(Bytes::copy_from_slice(payload)) else {
        return;
    };
    if let Some(root) = block.merkle_tree().ok().and_then(|tree| tree.root()) {
        payload[36..68].copy_from_slice(root.as_bytes());
    }
}

/// What came out of a splitter.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    /// Header and count.
    head: Option<(p2p_proto::BlockHeader, u64)>,
    /// Transactions with their ids, and whether they came whole.
    txs: Vec<(Bytes, Hash256, bool)>,
    /// What came of a transaction that did not end, if it was handed out at all.
    open: Option<Bytes>,
    end: Result<BlockSummary, DecodeError>,
}

fn split(max_tx: usize, chunks: impl IntoIterator<Item = Bytes>) -> Split {
    let mut splitter = TxSplitter::with_max_tx(max_tx);
    let mut parts = Gathered {
        max_tx,
        head: None,
        txs: Vec::new(),
        open: None,
    };
    let mut failed = None;
    for chunk in chunks {
        let longest = chunk.len().max(max_tx);
        splitter.push(chunk);
        loop {
            match splitter.poll() {
                Ok(Some(part)) => parts.take(part, longest),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(splitter.poll(), Err(error), "an error is final");
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    let end = splitter.finish();
    if let Some(error) = failed {
        assert_eq!(end, Err(error));
    }
    Split {
        head: parts.head,
        txs: parts.txs,
        // What was gathered of a transaction within the limit never comes out; where a
        // longer one stops coming out depends on the cuts only when it is wrong.
        open: match end {
            Err(error) if failed == Some(error) => None,
            Ok(_) | Err(_) => parts.open.map(BytesMut::freeze),
        },
        end,
    }
}

struct Gathered {
    max_tx: usize,
    head: Option<(p2p_proto::BlockHeader, u64)>,
    txs: Vec<(Bytes, Hash256, bool)>,
    open: Option<BytesMut>,
}

impl Gathered {
    /// Takes the next part, and checks that it may come now and is no longer than it may be.
    fn take(&mut self, part: BlockPart, longest: usize) {
        assert!(format!("{part:?}").len() < 300);
        if !matches!(part, BlockPart::Header { .. }) {
            assert!(self.head.is_some(), "the header comes first");
        }
        match part {
            BlockPart::Header { header, tx_count } => {
                assert_eq!(self.head.replace((header, tx_count)), None);
            }
            BlockPart::Tx { tx, txid } => {
                assert!(self.open.is_none() && tx.len() <= self.max_tx);
                walk_tx(&tx);
                assert_eq!(tx.txid(), txid);
                self.txs.push((tx.as_bytes().clone(), txid, true));
            }
            BlockPart::TxBegin => assert!(self.open.replace(BytesMut::new()).is_none()),
            BlockPart::TxChunk(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= longest);
                self.open.as_mut().unwrap().extend_from_slice(&bytes);
            }
            BlockPart::TxEnd { txid, length } => {
                let raw = self.open.take().unwrap().freeze();
                let tx = Tx::parse(raw.clone()).unwrap();
                assert!(tx.len() == raw.len() && raw.len() > self.max_tx);
                assert_eq!((raw.len() as u64, tx.txid()), (length, txid));
                self.txs.push((raw, txid, false));
            }
            _ => unreachable!("a part without a check: {part:?}"),
        }
    }
}

fn compare(block: &Block, split: &Split, fixed_root: bool) {
    assert_eq!(split.head, Some((block.header(), block.tx_count())));
    let good: Vec<_> = block.txs().map_while(Result::ok).collect();
    assert_eq!(split.txs.len(), good.len());
    for (tx, (raw, txid, _)) in good.iter().zip(&split.txs) {
        assert_eq!((tx.as_bytes(), tx.txid()), (raw, *txid));
    }
    let tree = block.merkle_tree();
    assert_eq!(
        split.end.map(|_| ()),
        tree.as_ref().map(|_| ()).map_err(|error| *error)
    );
    if let (Ok(summary), Ok(tree)) = (split.end, tree) {
        assert_eq!(summary.tx_count, block.tx_count());
        assert_eq!(summary.merkle_ok, tree.is_root(&block.header().merkle_root));
        assert_eq!(summary.merkle_root, tree.root().unwrap_or(Hash256::ZERO));
        if fixed_root && !tree.is_empty() {
            assert_eq!(summary.merkle_root, block.header().merkle_root);
        }
    }
}
