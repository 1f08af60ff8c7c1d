use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::tx::testing::{
    BLOCK_170, COINBASE_170_ID, HEADER_170, PAYMENT_170, PAYMENT_170_ID, any_tx, cut, hash, hex,
};
use crate::message::{Block, Tx, TxOutput};

#[test]
fn block_170_in_one_chunk_comes_out_without_a_copy() {
    let payload = hex(BLOCK_170);
    let (parts, summary) = split(TxSplitter::new(), [payload.clone()]);
    let [
        BlockPart::Header {
            header,
            tx_count: 2,
        },
        BlockPart::Tx {
            tx: first,
            txid: first_id,
        },
        BlockPart::Tx {
            tx: second,
            txid: second_id,
        },
    ] = &parts[..]
    else {
        panic!("{parts:?}")
    };
    assert_eq!(first.as_bytes().as_ptr(), payload[81..].as_ptr());
    assert_eq!(
        second.as_bytes().as_ptr(),
        payload[81 + first.len()..].as_ptr()
    );
    assert_eq!(
        [*first_id, *second_id],
        [COINBASE_170_ID, PAYMENT_170_ID].map(hash)
    );
    let summary = summary.unwrap();
    assert_eq!((summary.header, summary.tx_count), (*header, 2));
    assert_eq!(summary.merkle_root, header.merkle_root);
    assert!(summary.merkle_ok);
}

#[test]
fn a_transaction_over_the_limit_comes_out_in_pieces_however_it_is_cut() {
    for (max, whole) in [
        (275, [true, true]),
        (274, [true, false]),
        (0, [false, false]),
    ] {
        for size in [1, 7, 80, 90, 300, 1000] {
            let payload = hex(BLOCK_170);
            let splitter = TxSplitter::with_max_tx(max);
            let (parts, summary) = split(splitter, cut(&payload, &[size]));
            assert!(summary.unwrap().merkle_ok);
            let came_whole: Vec<_> = parts
                .iter()
                .filter_map(|part| match part {
                    BlockPart::Tx { .. } => Some(true),
                    BlockPart::TxEnd { .. } => Some(false),
                    BlockPart::Header { .. } | BlockPart::TxBegin | BlockPart::TxChunk(_) => None,
                })
                .collect();
            assert_eq!(came_whole, whole, "limit {max}, chunks of {size}");
        }
    }
}

#[test]
fn memory_is_bounded_by_the_limit_not_by_what_is_announced() {
    // One output with a script of 4 GiB - 1, in a block of 2^64 - 1 transactions.
    let start = hex(&[
        HEADER_170,
        "ffffffffffffffffff",
        "010000000001",
        "0000000000000000",
        "feffffffff",
    ]);
    let mut splitter = TxSplitter::with_max_tx(1000);
    splitter.push(start);
    let script = Bytes::from(vec![0; 64]);
    for _ in 0..1000 {
        while splitter.poll().unwrap().is_some() {}
        assert!(splitter.tx.gathered.capacity() <= 2048);
        assert!(splitter.chunks.is_empty() && splitter.parts.is_empty());
        splitter.push(script.clone());
    }
}

#[test]
fn a_block_that_stops_early_is_truncated() {
    let payload = hex(BLOCK_170);
    for end in 0..payload.len() {
        let (_, summary) = split(TxSplitter::new(), [payload.slice(..end)]);
        assert!(
            matches!(summary, Err(DecodeError::Truncated { .. })),
            "{end}"
        );
    }
}

#[test]
fn bytes_after_the_last_transaction_are_ignored() {
    let payload = hex(&[&BLOCK_170.concat(), PAYMENT_170]);
    for size in [1, 1000] {
        let (parts, summary) = split(TxSplitter::new(), cut(&payload, &[size]));
        assert_eq!(parts.len(), 3);
        assert!(summary.unwrap().merkle_ok);
    }
}

#[test]
fn an_error_is_final_and_comes_after_the_parts_before_it() {
    let payload = hex(&[HEADER_170, "02", "00000000", "fd0100"]);
    let mut splitter = TxSplitter::new();
    splitter.push(payload);
    assert!(matches!(
        splitter.poll(),
        Ok(Some(BlockPart::Header { .. }))
    ));
    let error = splitter.poll().unwrap_err();
    assert!(matches!(error, DecodeError::NonCanonical { value: 1, .. }));
    splitter.push(hex(BLOCK_170));
    assert_eq!(splitter.poll(), Err(error));
    assert_eq!(splitter.finish(), Err(error));
}

#[test]
fn other_transactions_than_the_headers_are_noticed() {
    let block = Block::parse(hex(BLOCK_170)).unwrap();
    let mut txs: Vec<_> = block.txs().map(Result::unwrap).collect();
    let verdict = |txs: &[Tx]| {
        let payload = Block::new(block.header(), txs).as_bytes().clone();
        split(TxSplitter::new(), [payload]).1.unwrap()
    };
    assert!(verdict(&txs).merkle_ok);
    assert!(!verdict(&[]).merkle_ok);
    txs.swap(0, 1);
    assert!(!verdict(&txs).merkle_ok);
}

#[test]
fn a_list_that_borrows_its_root_from_a_shorter_one_is_noticed() {
    let txs: Vec<_> = (0..3).map(|n| Tx::new(n, &[], &[], 0).unwrap()).collect();
    let mut header = BlockHeader::from_bytes(&[0; 80]);
    let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
    header.merkle_root = tree.root().unwrap();
    let repeated = [&txs[..], &txs[2..]].concat();
    for (txs, fine) in [(txs, true), (repeated, false)] {
        let payload = Block::new(header, &txs).as_bytes().clone();
        let summary = split(TxSplitter::new(), [payload]).1.unwrap();
        assert_eq!(summary.merkle_root, header.merkle_root);
        assert_eq!(summary.merkle_ok, fine);
    }
}

#[test]
fn debug_of_parts_is_short() {
    let script = [7; 5000];
    let output = TxOutput {
        value: 0,
        script: &script,
    };
    let tx = Tx::new(1, &[], &[output], 0).unwrap();
    let chunk = BlockPart::TxChunk(tx.as_bytes().clone());
    let txid = tx.txid();
    let mut splitter = TxSplitter::new();
    splitter.push(tx.as_bytes().clone());
    for text in [
        format!("{chunk:?}"),
        format!("{:?}", BlockPart::Tx { tx, txid }),
        format!("{splitter:?}"),
    ] {
        assert!(text.len() < 200, "{text}");
    }
}

proptest! {
    #[test]
    fn any_cutting_yields_the_same_transactions(
        txs in vec(any_tx(), 0..12),
        sizes in vec(1_usize..700, 1..8),
        max_tx in 0_usize..800,
    ) {
        let mut header = BlockHeader::from_bytes(&[3; 80]);
        let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
        header.merkle_root = tree.root().unwrap_or_default();
        let payload = Block::new(header, &txs).as_bytes().clone();
        let splitter = TxSplitter::with_max_tx(max_tx);
        let (parts, summary) = split(splitter, cut(&payload, &sizes));
        prop_assert_eq!(gather(&parts, max_tx), (Some((header, txs.len() as u64)), txs));
        let summary = summary.unwrap();
        prop_assert_eq!(summary.merkle_root, header.merkle_root);
        prop_assert_eq!(summary.merkle_ok, !tree.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..400),
        sizes in vec(1_usize..100, 1..4),
    ) {
        let payload = Bytes::from([vec![0; 80], bytes].concat());
        let mut splitter = TxSplitter::with_max_tx(50);
        for chunk in cut(&payload, &sizes) {
            splitter.push(chunk);
            while let Ok(Some(_)) = splitter.poll() {}
        }
        let _ = splitter.finish();
    }
}

/// Pushes and polls as the contract says.
fn split(
    mut splitter: TxSplitter,
    chunks: impl IntoIterator<Item = Bytes>,
) -> (Vec<BlockPart>, Result<BlockSummary, DecodeError>) {
    let mut parts = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Some(part) = splitter.poll().unwrap() {
            parts.push(part);
        }
    }
    (parts, splitter.finish())
}

/// The block that the parts make, with their grammar, ids and lengths checked.
fn gather(parts: &[BlockPart], max_tx: usize) -> (Option<(BlockHeader, u64)>, Vec<Tx>) {
    let mut head = None;
    let mut txs = Vec::new();
    let mut open: Option<BytesMut> = None;
    for part in parts {
        match part {
            BlockPart::Header { header, tx_count } => {
                assert!(head.is_none() && txs.is_empty());
                head = Some((*header, *tx_count));
            }
            BlockPart::Tx { tx, txid } => {
                assert!(head.is_some() && open.is_none() && tx.len() <= max_tx);
                assert_eq!(tx.txid(), *txid);
                txs.push(tx.clone());
            }
            BlockPart::TxBegin => {
                assert!(head.is_some() && open.is_none());
                open = Some(BytesMut::new());
            }
            BlockPart::TxChunk(bytes) => {
                assert!(!bytes.is_empty());
                open.as_mut().unwrap().extend_from_slice(bytes);
            }
            BlockPart::TxEnd { txid, length } => {
                let tx = Tx::parse(open.take().unwrap().freeze()).unwrap();
                assert!(tx.len() > max_tx);
                assert_eq!((tx.len() as u64, tx.txid()), (*length, *txid));
                txs.push(tx);
            }
        }
    }
    assert!(open.is_none());
    (head, txs)
}
