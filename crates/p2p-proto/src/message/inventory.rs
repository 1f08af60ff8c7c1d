//! `inv`, `getdata`, `notfound`: lists of typed hashes.
//!
//! Source: the node's `src/protocol.h` and `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Payload;
use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;

const ITEM_LEN: usize = 36;

/// What a hash stands for (the node's `GetDataMsg`).
///
/// ```
/// use p2p_proto::InventoryKind;
///
/// assert_eq!(InventoryKind::from(2), InventoryKind::Block);
/// assert_eq!(u32::from(InventoryKind::Other(9)), 9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum InventoryKind {
    /// 1: a transaction.
    Tx,
    /// 2: a block.
    Block,
    /// 3: a block as `merkleblock` and the transactions that match; in `getdata` only.
    FilteredBlock,
    /// 4: a block as `cmpctblock`; in `getdata` only.
    CompactBlock,
    /// 5: a transaction with its proof, as `datareftx`; in `getdata` only.
    DatarefTx,
    /// Any other number.
    Other(u32),
}

impl From<u32> for InventoryKind {
    fn from(kind: u32) -> Self {
        match kind {
            1 => Self::Tx,
            2 => Self::Block,
            3 => Self::FilteredBlock,
            4 => Self::CompactBlock,
            5 => Self::DatarefTx,
            other => Self::Other(other),
        }
    }
}

impl From<InventoryKind> for u32 {
    fn from(kind: InventoryKind) -> Self {
        match kind {
            InventoryKind::Tx => 1,
            InventoryKind::Block => 2,
            InventoryKind::FilteredBlock => 3,
            InventoryKind::CompactBlock => 4,
            InventoryKind::DatarefTx => 5,
            InventoryKind::Other(other) => other,
        }
    }
}

/// An entry: a hash, and what it stands for.
///
/// ```
/// use p2p_proto::{Hash256, InventoryItem, InventoryKind};
///
/// let genesis: Hash256 = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f".parse()?;
/// let item = InventoryItem { kind: InventoryKind::Block, hash: genesis };
/// assert_eq!(item.kind, InventoryKind::Block);
/// # Ok::<(), p2p_proto::ParseHashError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InventoryItem {
    /// What the hash stands for.
    pub kind: InventoryKind,
    /// The hash of the transaction or block.
    pub hash: Hash256,
}

/// The payload of `inv`, `getdata` and `notfound`.
///
/// Bounded by the size of the payload alone. Teranode, bcoin and btcd refuse more than 50,000
/// entries; a peer whose `protoconf` has not come takes 29,126.
///
/// ```
/// use p2p_proto::{Hash256, Inventory, InventoryItem, InventoryKind, Message};
///
/// let item = InventoryItem { kind: InventoryKind::Block, hash: Hash256::ZERO };
/// let request = Message::GetData(Inventory::new([item]));
/// assert_eq!(request.payload_len(), 1 + 36);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Inventory {
    raw: Bytes,
    len: usize,
}

impl Inventory {
    /// A list of these items.
    pub fn new(items: impl IntoIterator<Item = InventoryItem>) -> Self {
        let mut list = BytesMut::new();
        for item in items {
            list.put_u32_le(item.kind.into());
            list.put_hash(&item.hash);
        }
        let len = list.len() / ITEM_LEN;
        let mut raw = BytesMut::with_capacity(compact_size_len(len as u64) + list.len());
        raw.put_compact_size(len as u64);
        raw.put_slice(&list);
        Self {
            raw: raw.freeze(),
            len,
        }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = InventoryItem> + '_ {
        self.raw[compact_size_len(self.len as u64)..]
            .chunks_exact(ITEM_LEN)
            .map(|mut item| {
                let kind = item.get_u32_le().into();
                let mut hash = [0; 32];
                item.copy_to_slice(&mut hash);
                InventoryItem {
                    kind,
                    hash: Hash256::from_bytes(hash),
                }
            })
    }
}

impl Payload for Inventory {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let len = reader.count(ITEM_LEN, "inventory count")?;
        reader.take(len * ITEM_LEN, "inventory items")?;
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory").field("len", &self.len).finish()
    }
}
