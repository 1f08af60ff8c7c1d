//! Every message of the protocol, typed.
//!
//! One file a family. Messages of variable size are *views*: they keep the bytes of the payload
//! (shared, never copied again) and read them when asked, so that cloning a block of a gigabyte
//! costs a reference count. Bytes after the last known field of a payload are ignored, as the
//! node does.

/// How a [`Payload`] is written whose field `raw` is what goes over the wire.
macro_rules! kept_as_sent {
    () => {
        fn encoded_len(&self) -> usize {
            self.raw.len()
        }

        fn encode(&self, out: &mut bytes::BytesMut) {
            out.extend_from_slice(&self.raw);
        }

        fn raw(&self) -> Option<&bytes::Bytes> {
            Some(&self.raw)
        }
    };
}

mod addr;
mod block;
mod block_txn;
mod bloom;
mod compact;
mod dataref;
mod double_spend;
mod enriched;
mod fee;
mod header;
mod indexes;
mod inventory;
mod locator;
mod merkle;
mod miner;
mod nonce;
mod proof;
mod protoconf;
mod reject;
mod short_id;
mod stream;
pub(crate) mod tx;
mod version;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::Reader;
use crate::command::Command;
use crate::error::DecodeError;

pub use addr::{Addr, MAX_ADDR, NetworkAddress, Services, TimedAddress};
pub use block::{Block, Txs};
pub use block_txn::{BlockTxn, GetBlockTxn};
pub use bloom::{FilterAdd, FilterLoad, MAX_FILTER, MAX_FILTER_ELEMENT, Mempool};
pub use compact::{CmpctBlock, PrefilledTx, SendCmpct};
pub use dataref::DatarefTx;
pub use double_spend::{ConflictingBlock, DsDetected};
pub use enriched::{EnrichedHeader, EnrichedHeaders};
pub use fee::FeeFilter;
pub use header::{BlockHeader, Headers, MAX_HEADERS};
pub use inventory::{Inventory, InventoryItem, InventoryKind};
pub use locator::BlockLocator;
pub use merkle::{MerkleBlock, MerkleTree};
pub use miner::{AuthChallenge, AuthResponse, RevokeMid};
pub use nonce::Nonce;
pub use proof::{MerkleProof, ProofSubject, ProofTarget};
pub use protoconf::{MIN_ANNOUNCED_PAYLOAD, Protoconf};
pub use reject::{Reject, RejectCode};
pub use short_id::{ShortId, ShortIdKeys};
pub use stream::{CreateStream, MAX_ASSOCIATION_ID, StreamAck};
pub(crate) use tx::{CompactSizeScanner, TxScanner};
pub use tx::{OutPoint, Tx, TxInput, TxOutput};
pub use version::{Version, VersionFields};

/// What every typed payload can do.
pub(crate) trait Payload: Sized {
    /// Reads the payload; bytes after its last field stay unread.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Bytes that [`encode`](Self::encode) will write.
    fn encoded_len(&self) -> usize;
    /// Writes the payload.
    fn encode(&self, out: &mut BytesMut);
    /// The whole payload, where it is kept as it is on the wire: then it is never copied.
    fn raw(&self) -> Option<&Bytes> {
        None
    }
}

macro_rules! messages {
    (
        empty { $($(#[$empty_doc:meta])* $empty:ident = $empty_command:ident,)* }
        payload { $($(#[$doc:meta])* $variant:ident($type:ty) = $command:ident,)* }
    ) => {
        /// A message: every one of the protocol (the node's `src/protocol.cpp`), and whatever else
        /// has a name.
        ///
        /// ```
        /// use p2p_proto::{Command, Message, Nonce};
        ///
        /// let message = Message::decode(Command::PING, &[7, 0, 0, 0, 0, 0, 0, 0])?;
        /// assert_eq!(message, Message::Ping(Nonce(7)));
        /// assert_eq!(message.payload(), [7, 0, 0, 0, 0, 0, 0, 0][..]);
        /// # Ok::<(), p2p_proto::DecodeError>(())
        /// ```
        #[derive(Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Message {
            $($(#[$empty_doc])* $empty,)*
            $($(#[$doc])* $variant($type),)*
            /// A command without a variant of its own, carried through as it came.
            Unknown {
                /// The command.
                command: Command,
                /// Its payload.
                payload: Bytes,
            },
        }

        impl Message {
            /// The command that the message travels under.
            pub fn command(&self) -> Command {
                match self {
                    $(Self::$empty => Command::$empty_command,)*
                    $(Self::$variant(_) => Command::$command,)*
                    Self::Unknown { command, .. } => *command,
                }
            }

            pub(crate) fn read(command: Command, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match command {
                    $(Command::$command => Self::$variant(Payload::decode(reader)?),)*
                    $(Command::$empty_command => Self::$empty,)*
                    _ => Self::Unknown { command, payload: reader.rest() },
                })
            }

            /// Bytes that the payload takes on the wire.
            pub fn payload_len(&self) -> usize {
                match self {
                    $(Self::$empty => 0,)*
                    $(Self::$variant(message) => message.encoded_len(),)*
                    Self::Unknown { payload, .. } => payload.len(),
                }
            }

            pub(crate) fn encode(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$empty => {})*
                    $(Self::$variant(message) => message.encode(out),)*
                    Self::Unknown { payload, .. } => out.put_slice(payload),
                }
            }

            pub(crate) fn raw(&self) -> Option<&Bytes> {
                match self {
                    $(Self::$empty => None,)*
                    $(Self::$variant(message) => message.raw(),)*
                    Self::Unknown { payload, .. } => Some(payload),
                }
            }
        }

        impl std::fmt::Debug for Message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$empty => f.write_str(stringify!($empty)),)*
                    $(Self::$variant(message) => {
                        f.debug_tuple(stringify!($variant)).field(message).finish()
                    })*
                    Self::Unknown { command, payload } => f
                        .debug_struct("Unknown")
                        .field("command", command)
                        .field("len", &payload.len())
                        .finish_non_exhaustive(),
                }
            }
        }
    };
}

messages! {
    empty {
        /// The sender has taken our version.
        Verack = VERACK,
        /// Announce blocks by `headers` rather than `inv`, please.
        SendHeaders = SENDHEADERS,
        /// Announce blocks by `hdrsen` rather than `inv`, please.
        SendHdrsEn = SENDHDRSEN,
        /// A request for addresses of other nodes.
        GetAddr = GETADDR,
        /// Forget the bloom filter.
        FilterClear = FILTERCLEAR,
    }
    payload {
        /// Are you there?
        Ping(Nonce) = PING,
        /// Yes: the nonce of a ping, sent back.
        Pong(Nonce) = PONG,
        /// Hashes that the sender has to offer.
        Inv(Inventory) = INV,
        /// A transaction.
        Tx(Tx) = TX,
        /// A request for what was offered.
        GetData(Inventory) = GETDATA,
        /// What was asked for and is not to be had.
        NotFound(Inventory) = NOTFOUND,
        /// A block.
        Block(Block) = BLOCK,
        /// Block headers.
        Headers(Headers) = HEADERS,
        /// A request for block headers.
        GetHeaders(BlockLocator) = GETHEADERS,
        /// A request for an inventory of blocks.
        GetBlocks(BlockLocator) = GETBLOCKS,
        /// A request for enriched headers.
        GetHdrsEn(BlockLocator) = GETHDRSEN,
        /// Headers with proofs.
        HdrsEn(EnrichedHeaders) = HDRSEN,
        /// Addresses of other nodes.
        Addr(Addr) = ADDR,
        /// The first message of either side.
        Version(Box<Version>) = VERSION,
        /// The sender's limits and stream policies.
        Protoconf(Box<Protoconf>) = PROTOCONF,
        /// Attach this TCP connection to an association.
        CreateStream(Box<CreateStream>) = CREATESTRM,
        /// The answer to `createstrm`.
        StreamAck(StreamAck) = STREAMACK,
        /// A miner-id challenge.
        AuthChallenge(AuthChallenge) = AUTHCH,
        /// The answer to a miner-id challenge.
        AuthResponse(Box<AuthResponse>) = AUTHRESP,
        /// How the sender wants compact blocks.
        SendCmpct(SendCmpct) = SENDCMPCT,
        /// The least fee that the sender relays.
        FeeFilter(FeeFilter) = FEEFILTER,
        /// The part of a block that matches a filter.
        MerkleBlock(Box<MerkleBlock>) = MERKLEBLOCK,
        /// A compact block.
        CmpctBlock(Box<CmpctBlock>) = CMPCTBLOCK,
        /// A request for transactions of a compact block.
        GetBlockTxn(GetBlockTxn) = GETBLOCKTXN,
        /// Transactions of a compact block.
        BlockTxn(BlockTxn) = BLOCKTXN,
        /// A transaction with the proof that it is in a block.
        DatarefTx(Box<DatarefTx>) = DATAREFTX,
        /// Use this bloom filter.
        FilterLoad(FilterLoad) = FILTERLOAD,
        /// Add an element to the bloom filter.
        FilterAdd(FilterAdd) = FILTERADD,
        /// A request for the ids of unconfirmed transactions.
        Mempool(Mempool) = MEMPOOL,
        /// The sender did not like a message.
        Reject(Box<Reject>) = REJECT,
        /// A double spend in competing blocks.
        DsDetected(DsDetected) = DSDETECTED,
        /// A miner id is revoked.
        RevokeMid(Box<RevokeMid>) = REVOKEMID,
    }
}

impl Message {
    /// Decodes a payload, copying what the message keeps.
    ///
    /// # Errors
    /// [`DecodeError`], naming the field.
    pub fn decode(command: Command, payload: &[u8]) -> Result<Self, DecodeError> {
        Self::read(command, &mut Reader::new(payload))
    }

    /// Decodes a payload, sharing its memory.
    ///
    /// # Errors
    /// [`DecodeError`], naming the field.
    pub fn decode_shared(command: Command, payload: &Bytes) -> Result<Self, DecodeError> {
        Self::read(command, &mut Reader::shared(payload))
    }

    /// The payload as it goes on the wire: shared where the message keeps it, encoded otherwise.
    pub fn payload(&self) -> Bytes {
        if let Some(raw) = self.raw() {
            return raw.clone();
        }
        let mut out = BytesMut::with_capacity(self.payload_len());
        self.encode(&mut out);
        out.freeze()
    }
}

/// What a view begins with, which was there when it was decoded.
fn first<const N: usize>(raw: &[u8]) -> [u8; N] {
    let (first, _) = raw.split_first_chunk().expect("it was read");
    *first
}

/// Bytes of a field that holds at most `max` of them.
fn limited(bytes: impl Into<Bytes>, max: usize, field: &'static str) -> Result<Bytes, DecodeError> {
    let bytes = bytes.into();
    if bytes.len() > max {
        return Err(DecodeError::TooLarge {
            field,
            value: bytes.len() as u64,
            max: max as u64,
        });
    }
    Ok(bytes)
}

/// `count` items that may still be wrong; the first wrong one is the last.
pub(crate) fn until_error<T>(
    count: u64,
    mut read: impl FnMut() -> Result<T, DecodeError>,
) -> impl Iterator<Item = Result<T, DecodeError>> {
    let mut left = count;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let item = read();
        if item.is_err() {
            left = 0;
        }
        Some(item)
    })
}

impl<T: Payload> Payload for Box<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::decode(reader).map(Self::new)
    }

    fn encoded_len(&self) -> usize {
        T::encoded_len(self)
    }

    fn encode(&self, out: &mut BytesMut) {
        T::encode(self, out);
    }

    fn raw(&self) -> Option<&Bytes> {
        T::raw(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events wait in queues and are moved often: what is larger than a transaction is in a box.
    #[test]
    fn a_message_is_no_larger_than_a_transaction() {
        let most = size_of::<Tx>() + size_of::<usize>();
        assert!(size_of::<Message>() <= most, "{}", size_of::<Message>());
        assert_eq!(most, 56);
    }

    #[test]
    fn a_message_in_a_box_keeps_its_payload_as_any_other() {
        let header = BlockHeader::from_bytes(&[0; 80]);
        for message in [
            Message::MerkleBlock(Box::new(MerkleBlock::new(header, 0, [], &[]))),
            Message::CmpctBlock(Box::new(CmpctBlock::new(header, 0, &[], &[]).unwrap())),
        ] {
            let payload = message.payload();
            let again = Message::decode_shared(message.command(), &payload).unwrap();
            assert_eq!(again.payload().as_ptr(), payload.as_ptr(), "{message:?}");
        }
    }
}
