//! Transactions, as views over their bytes.
//!
//! Layout: i32 version, inputs {32 previous txid, u32 index, script, u32 sequence}, outputs
//! {i64 value, script}, u32 lock time; counts and script lengths are CompactSizes. There is no
//! witness encoding. Source: the node's `src/primitives/transaction.h`.

mod scanner;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use scanner::{CompactSizeScanner, TxScanner};

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
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
    /// ([`MAX_SIZE`](crate::codec::MAX_SIZE)).
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
