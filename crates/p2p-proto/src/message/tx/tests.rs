use proptest::collection::vec;
use proptest::prelude::*;

use super::testing::{COINBASE_170, PAYMENT_170, PAYMENT_170_ID, any_tx, cut, hash, hex};
use super::*;
use crate::codec::MAX_SIZE;

#[test]
fn the_first_payment_reads_as_it_is_known() {
    let tx = Tx::parse(hex(&[PAYMENT_170])).unwrap();
    assert_eq!(tx.txid(), hash(PAYMENT_170_ID));
    assert_eq!((tx.version(), tx.lock_time(), tx.len()), (1, 0, 275));
    assert_eq!((tx.input_count(), tx.output_count()), (1, 2));
    let input = tx.inputs().next().unwrap();
    assert_eq!(
        input.previous.txid,
        hash("0437cd7f8525ceed2324359c2d0ba26006d92d856a9c20fa0241106ee5a597c9")
    );
    assert_eq!(input.script.len(), 72);
    assert_eq!(input.sequence, u32::MAX);
    let values: Vec<_> = tx.outputs().map(|output| output.value).collect();
    assert_eq!(values, [1_000_000_000, 4_000_000_000]);
}

#[test]
fn decoding_shares_the_payload_and_leaves_what_follows() {
    let payload = hex(&[COINBASE_170, PAYMENT_170, "ff"]);
    let mut reader = Reader::shared(&payload);
    let first = Tx::decode(&mut reader).unwrap();
    let second = Tx::decode(&mut reader).unwrap();
    assert_eq!(reader.remaining(), 1);
    assert_eq!(first.as_bytes().as_ptr(), payload.as_ptr());
    assert_eq!(second.txid(), hash(PAYMENT_170_ID));
    assert_eq!(first.raw().map(Bytes::len), Some(first.encoded_len()));
}

#[test]
fn every_cut_is_truncated() {
    let whole = hex(&[PAYMENT_170]);
    for end in 0..whole.len() {
        assert!(matches!(
            Tx::parse(whole.slice(..end)),
            Err(DecodeError::Truncated { .. })
        ));
    }
}

#[test]
fn counts_and_script_lengths_are_canonical_and_at_most_four_gib() {
    let refused = |text: &str| Tx::parse(hex(&["01000000", text])).unwrap_err();
    let outpoint = "00".repeat(36);
    for before in [
        String::new(),
        format!("01{outpoint}"),
        "00".to_owned(),
        "000100e1f50500000000".to_owned(),
    ] {
        let error = refused(&format!("{before}fd0100"));
        assert!(matches!(error, DecodeError::NonCanonical { value: 1, .. }));
        let error = refused(&format!("{before}ff0000000001000000"));
        assert!(matches!(
            error,
            DecodeError::TooLarge {
                value: 0x1_0000_0000,
                max: MAX_SIZE,
                ..
            }
        ));
        let error = refused(&format!("{before}feffffffff"));
        assert!(matches!(error, DecodeError::Truncated { .. }));
    }
}

#[test]
fn the_smallest_transaction_has_ten_bytes() {
    let tx = Tx::new(2, &[], &[], 7).unwrap();
    assert_eq!(tx.len(), MIN_TX_LEN);
    assert_eq!((tx.version(), tx.lock_time()), (2, 7));
    assert_eq!(tx.inputs().count() + tx.outputs().count(), 0);
}

#[test]
fn debug_of_a_big_one_is_short() {
    let script = [0; 100_000];
    let tx = Tx::new(
        1,
        &[],
        &[TxOutput {
            value: 0,
            script: &script,
        }],
        0,
    )
    .unwrap();
    assert!(format!("{tx:?}").len() < 200);
}

proptest! {
    #[test]
    fn any_cutting_finds_the_same_end(tx in any_tx(), sizes in vec(1_usize..60, 1..8)) {
        let mut payload = BytesMut::from(&tx.raw[..]);
        payload.put_slice(&[0xFF; 70]);
        let payload = payload.freeze();
        let mut scanner = TxScanner::new();
        let mut before = 0;
        for piece in cut(&payload, &sizes) {
            if let Some(end) = scanner.feed(&piece).unwrap() {
                prop_assert_eq!(before + end, tx.len());
                prop_assert_eq!(scanner.into_tx(tx.raw.clone()), tx);
                return Ok(());
            }
            before += piece.len();
        }
        prop_assert!(false, "no end was found");
    }

    #[test]
    fn parts_that_are_read_make_the_same_transaction(tx in any_tx()) {
        let inputs: Vec<_> = tx.inputs().collect();
        let outputs: Vec<_> = tx.outputs().collect();
        prop_assert_eq!(inputs.len(), tx.input_count());
        prop_assert_eq!(outputs.len(), tx.output_count());
        let again = Tx::new(tx.version(), &inputs, &outputs, tx.lock_time()).unwrap();
        prop_assert_eq!(again, tx);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(tx) = Tx::parse(bytes.into()) {
            prop_assert_eq!(tx.inputs().count(), tx.input_count());
            prop_assert_eq!(tx.outputs().count(), tx.output_count());
        }
    }
}
