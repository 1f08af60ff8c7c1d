//! Transactions: a view over the bytes, and the scanner that finds where one ends.
//!
//! Layout: i32 version, inputs {32 previous txid, u32 index, script, u32 sequence}, outputs
//! {i64 value, script}, u32 lock time; counts and script lengths are CompactSizes. There is no
//! witness encoding. Source: the node's `src/primitives/transaction.h`.

use std::fmt;
use std::iter;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{MAX_SIZE, Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;

/// The bytes of a transaction without inputs and outputs: no real one is shorter.
pub(crate) const MIN_TX_LEN: usize = 10;

/// A transaction.
///
/// A view over its bytes as they are on the wire. One scan has checked the structure, so the
/// iterators cannot fail; what the fields mean (scripts, amounts) is not checked.
///
/// ```
/// use p2p_proto::{Hash256, OutPoint, Tx, TxInput, TxOutput};
///
/// let previous = OutPoint { txid: Hash256::of(b"an earlier one"), index: 1 };
/// let tx = Tx::new(
///     1,
///     &[TxInput { previous, script: &[], sequence: u32::MAX }],
///     &[TxOutput { value: 5_000, script: &[0x51] }],
///     0,
/// )?;
/// assert_eq!(tx.outputs().map(|output| output.value).sum::<i64>(), 5_000);
/// assert_eq!(tx.txid(), Hash256::of(tx.as_bytes()));
/// assert_eq!(Tx::parse(tx.as_bytes().clone())?, tx);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tx {
    raw: Bytes,
    /// Where the first output starts.
    outputs_at: usize,
    input_count: u32,
    output_count: u32,
}

/// The output that an input spends.
///
/// ```
/// use p2p_proto::{Hash256, OutPoint};
///
/// // What the input of a coinbase names.
/// let none = OutPoint { txid: Hash256::ZERO, index: u32::MAX };
/// assert_eq!(none.index, 0xFFFF_FFFF);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutPoint {
    /// The transaction that has the output; zero in a coinbase.
    pub txid: Hash256,
    /// Which of its outputs, from 0; `u32::MAX` in a coinbase.
    pub index: u32,
}

/// An input of a [`Tx`].
///
/// ```
/// use p2p_proto::{Hash256, OutPoint, Tx, TxInput};
///
/// let previous = OutPoint { txid: Hash256::of(b"an earlier one"), index: 0 };
/// let tx = Tx::new(1, &[TxInput { previous, script: &[0x51], sequence: u32::MAX }], &[], 0)?;
/// assert_eq!(tx.inputs().next().unwrap().script, [0x51]);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxInput<'a> {
    /// What it spends.
    pub previous: OutPoint,
    /// The unlocking script. `Bytes::slice_ref` on [`Tx::as_bytes`] makes it outlive the view.
    pub script: &'a [u8],
    /// Sequence number.
    pub sequence: u32,
}

/// An output of a [`Tx`].
///
/// ```
/// use p2p_proto::{Tx, TxOutput};
///
/// let tx = Tx::new(1, &[], &[TxOutput { value: 5_000, script: &[0x6a] }], 0)?;
/// assert_eq!(tx.outputs().next().unwrap().value, 5_000);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxOutput<'a> {
    /// Amount, in satoshi; the wire's type is signed and any value is read.
    pub value: i64,
    /// The locking script. `Bytes::slice_ref` on [`Tx::as_bytes`] makes it outlive the view.
    pub script: &'a [u8],
}

impl Tx {
    /// A transaction of these parts.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] for a script or a list longer than the wire can say
    /// ([`MAX_SIZE`]).
    pub fn new(
        version: i32,
        inputs: &[TxInput<'_>],
        outputs: &[TxOutput<'_>],
        lock_time: u32,
    ) -> Result<Self, DecodeError> {
        let mut out = BytesMut::new();
        out.put_i32_le(version);
        out.put_compact_size(inputs.len() as u64);
        for input in inputs {
            out.put_hash(&input.previous.txid);
            out.put_u32_le(input.previous.index);
            out.put_var_bytes(input.script);
            out.put_u32_le(input.sequence);
        }
        out.put_compact_size(outputs.len() as u64);
        for output in outputs {
            out.put_i64_le(output.value);
            out.put_var_bytes(output.script);
        }
        out.put_u32_le(lock_time);
        Self::parse(out.freeze())
    }

    /// The transaction that `bytes` begins with, sharing their memory. What follows it is left
    /// out, as on the wire; [`len`](Self::len) tells where it ended.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the bytes end inside, [`DecodeError::NonCanonical`] and
    /// [`DecodeError::TooLarge`] for a bad count or script length.
    pub fn parse(mut bytes: Bytes) -> Result<Self, DecodeError> {
        Self::split_from(&mut bytes)
    }

    /// The transaction id. Computed at each call.
    pub fn txid(&self) -> Hash256 {
        Hash256::of(&self.raw)
    }

    /// Version.
    pub fn version(&self) -> i32 {
        Reader::new(&self.raw).i32("version").unwrap_or_default()
    }

    /// How many inputs there are.
    pub fn input_count(&self) -> usize {
        self.input_count as usize
    }

    /// How many outputs there are.
    pub fn output_count(&self) -> usize {
        self.output_count as usize
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = TxInput<'_>> {
        let start = 4 + compact_size_len(u64::from(self.input_count));
        let mut reader = Reader::new(self.raw.get(start..).unwrap_or_default());
        (0..self.input_count).map_while(move |_| TxInput::read(&mut reader).ok())
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = TxOutput<'_>> {
        let mut reader = Reader::new(self.raw.get(self.outputs_at..).unwrap_or_default());
        (0..self.output_count).map_while(move |_| TxOutput::read(&mut reader).ok())
    }

    /// The lock time: a height below 500,000,000, Unix seconds from there on.
    pub fn lock_time(&self) -> u32 {
        self.raw
            .last_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Bytes on the wire.
    #[expect(clippy::len_without_is_empty, reason = "no transaction is empty")]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// The bytes as they are on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// Takes the transaction that `bytes` begins with off them.
    pub(crate) fn split_from(bytes: &mut Bytes) -> Result<Self, DecodeError> {
        let (scanner, end) = TxScanner::scan(bytes)?;
        Ok(scanner.into_tx(bytes.split_to(end)))
    }
}

impl Payload for Tx {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ahead = reader.clone().take(reader.remaining(), "transaction")?;
        let (scanner, end) = TxScanner::scan(ahead)?;
        Ok(scanner.into_tx(reader.bytes(end, "transaction")?))
    }

    kept_as_sent!();
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("txid", &self.txid())
            .field("inputs", &self.input_count)
            .field("outputs", &self.output_count)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl<'a> TxInput<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            previous: OutPoint {
                txid: reader.hash("previous txid")?,
                index: reader.u32("previous index")?,
            },
            script: read_script(reader, "input script")?,
            sequence: reader.u32("sequence")?,
        })
    }
}

impl<'a> TxOutput<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            value: reader.i64("value")?,
            script: read_script(reader, "output script")?,
        })
    }
}

fn read_script<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let len = reader.count(1, field)?;
    reader.take(len, field)
}

/// `count` items that may still be wrong; the first wrong one is the last.
pub(crate) fn until_error<T>(
    count: u64,
    mut read: impl FnMut() -> Result<T, DecodeError>,
) -> impl Iterator<Item = Result<T, DecodeError>> {
    let mut left = count;
    iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let item = read();
        if item.is_err() {
            left = 0;
        }
        Some(item)
    })
}

/// Finds the end of a transaction that comes in pieces, in constant memory and linear time.
///
/// Between two CompactSizes lie bytes of known number that need no look: a transaction is a
/// list of such gaps.
#[derive(Debug, Clone)]
pub(crate) struct TxScanner {
    /// What the CompactSize behind the gap says.
    next: Next,
    /// Bytes of the gap that are still to come.
    gap: u64,
    /// Items of the current list whose script length is still to come.
    left: u64,
    compact_size: CompactSizeScanner,
    /// Bytes of all pieces before the current one.
    fed: u64,
    input_count: u32,
    output_count: u32,
    outputs_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    InputCount,
    InputScript,
    OutputCount,
    OutputScript,
    End,
}

impl Next {
    fn field(self) -> &'static str {
        match self {
            Self::InputCount => "input count",
            Self::InputScript => "input script",
            Self::OutputCount => "output count",
            Self::OutputScript => "output script",
            Self::End => "lock time",
        }
    }
}

impl TxScanner {
    pub(crate) fn new() -> Self {
        Self {
            next: Next::InputCount,
            gap: 4,
            left: 0,
            compact_size: CompactSizeScanner::default(),
            fed: 0,
            input_count: 0,
            output_count: 0,
            outputs_at: 0,
        }
    }

    /// Scans the transaction that `bytes` begins with; also where it ends.
    pub(crate) fn scan(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut scanner = Self::new();
        match scanner.feed(bytes)? {
            Some(end) => Ok((scanner, end)),
            None => Err(scanner.truncated()),
        }
    }

    /// Looks at the next piece. `Some(n)`: the transaction ends after its first `n` bytes.
    /// `None`: it goes on. An error is final.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, DecodeError> {
        let mut at = 0;
        loop {
            let left = piece.len() - at;
            if self.gap > left as u64 {
                self.gap -= left as u64;
                break;
            }
            at += self.gap as usize;
            self.gap = 0;
            if self.next == Next::End {
                return Ok(Some(at));
            }
            let value = self.compact_size.feed(piece, &mut at, self.next.field())?;
            let Some(value) = value else { break };
            self.advance(value, at)?;
        }
        self.fed += piece.len() as u64;
        Ok(None)
    }

    /// The error of a transaction that ends here.
    pub(crate) fn truncated(&self) -> DecodeError {
        DecodeError::Truncated {
            field: self.next.field(),
            needed: self.gap.max(1),
            left: 0,
        }
    }

    /// The transaction of these bytes: exactly those that were scanned to the end.
    pub(crate) fn into_tx(self, raw: Bytes) -> Tx {
        Tx {
            raw,
            outputs_at: self.outputs_at as usize,
            input_count: self.input_count,
            output_count: self.output_count,
        }
    }

    fn advance(&mut self, value: u64, at: usize) -> Result<(), DecodeError> {
        let Ok(size) = u32::try_from(value) else {
            return Err(DecodeError::TooLarge {
                field: self.next.field(),
                value,
                max: MAX_SIZE,
            });
        };
        match self.next {
            Next::InputCount => {
                self.input_count = size;
                self.left = value;
            }
            Next::OutputCount => {
                self.output_count = size;
                self.outputs_at = self.fed + at as u64;
                self.left = value;
            }
            // The script, then the sequence.
            Next::InputScript => {
                self.left -= 1;
                self.gap = value + 4;
            }
            Next::OutputScript => {
                self.left -= 1;
                self.gap = value;
            }
            Next::End => {}
        }
        // Before a script length: the previous output, or the value. At the end: the lock time.
        let (next, gap) = match (self.next, self.left) {
            (Next::InputCount | Next::InputScript, 0) => (Next::OutputCount, 0),
            (Next::InputCount | Next::InputScript, _) => (Next::InputScript, 36),
            (Next::OutputCount | Next::OutputScript, 0) => (Next::End, 4),
            (Next::OutputCount | Next::OutputScript, _) => (Next::OutputScript, 8),
            (Next::End, _) => (Next::End, 0),
        };
        self.next = next;
        self.gap += gap;
        Ok(())
    }
}

/// A CompactSize that may be cut anywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompactSizeScanner {
    bytes: [u8; 9],
    len: usize,
}

impl CompactSizeScanner {
    /// Takes bytes of `piece` from `at` on. `None`: the piece ended first.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        at: &mut usize,
        field: &'static str,
    ) -> Result<Option<u64>, DecodeError> {
        while let Some(&byte) = piece.get(*at) {
            *at += 1;
            if self.len == 0 && byte < 0xFD {
                return Ok(Some(u64::from(byte)));
            }
            self.bytes[self.len] = byte;
            self.len += 1;
            let whole = match self.bytes[0] {
                0xFD => 3,
                0xFE => 5,
                _ => 9,
            };
            if self.len == whole {
                self.len = 0;
                let value = Reader::new(&self.bytes[..whole]).compact_size(field)?;
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// What the tests of several files share.
#[cfg(test)]
pub(crate) mod testing {
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
    pub(crate) const COINBASE_170_ID: &str =
        "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082";
    pub(crate) const PAYMENT_170_ID: &str =
        "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16";

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
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::testing::{COINBASE_170, PAYMENT_170, PAYMENT_170_ID, any_tx, cut, hash, hex};
    use super::*;

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
}
