//! What the tests of several messages share.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{OutPoint, Tx, TxInput, TxOutput};
use crate::hash::Hash256;

pub(crate) const HEADER_170: &str = "0100000055bd840a78798ad0da853f68974f3d183e2bd1db6a842c1feecf222a00000000ff104ccb05421ab93e63f8c3ce5c2c2e9dbb37de2764b3a3175c8166562cac7d51b96a49ffff001d283e9e70";
pub(crate) const COINBASE_170: &str = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0704ffff001d0102ffffffff0100f2052a01000000434104d46c4968bde02899d2aa0963367c7a6ce34eec332b32e42e5f3407e052d64ac625da6f0718e7b302140434bd725706957c092db53805b821a85b23a7ac61725bac00000000";
pub(crate) const PAYMENT_170: &str = "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000";
pub(crate) const BLOCK_170: &[&str] = &[HEADER_170, "02", COINBASE_170, PAYMENT_170];
pub(crate) const HASH_170: &str =
    "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee";
pub(crate) const HASH_170_WIRE: &str =
    "eea2d48d2fced4346842835c659e493d323f06d4034469a8905714d100000000";
pub(crate) const COINBASE_170_ID: &str =
    "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082";
pub(crate) const COINBASE_170_WIRE: &str =
    "82501c1178fa0b222c1f3d474ec726b832013f0a532b44bb620cce8624a5feb1";
pub(crate) const PAYMENT_170_ID: &str =
    "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16";
pub(crate) const PAYMENT_170_WIRE: &str =
    "169e1e83e930853391bc6f35f605c6754cfead57cf8387639d3b4096c54f18f4";

/// The bytes of hex text in parts.
pub(crate) fn hex(parts: &[&str]) -> Bytes {
    let text = parts.concat();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hash(text: &str) -> Hash256 {
    text.parse().unwrap()
}

pub(crate) fn any_hash() -> impl Strategy<Value = Hash256> {
    any::<[u8; 32]>().prop_map(Hash256::from_bytes)
}

/// Transactions with scripts on both sides of the one-byte CompactSize.
pub(crate) fn any_tx() -> impl Strategy<Value = Tx> {
    let script = || prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 250..300)];
    let inputs = vec((any_hash(), any::<u32>(), script(), any::<u32>()), 0..5);
    let outputs = vec((any::<i64>(), script()), 0..5);
    (any::<i32>(), inputs, outputs, any::<u32>()).prop_map(
        |(version, inputs, outputs, lock_time)| {
            let inputs: Vec<_> = inputs
                .iter()
                .map(|&(txid, index, ref script, sequence)| TxInput {
                    previous: OutPoint { txid, index },
                    script,
                    sequence,
                })
                .collect();
            let outputs: Vec<_> = outputs
                .iter()
                .map(|&(value, ref script)| TxOutput { value, script })
                .collect();
            Tx::new(version, &inputs, &outputs, lock_time).unwrap()
        },
    )
}

/// Cuts `bytes` into pieces of these sizes, over and over.
pub(crate) fn cut(bytes: &Bytes, sizes: &[usize]) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(usize::MAX);
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    pieces
}
