//! Places in a block as compact blocks write them, in `cmpctblock` and `getblocktxn`.
//!
//! Source: BIP152.

use crate::codec::Reader;
use crate::error::DecodeError;

/// Ascending places in a block, between what they are and how they are written: each as the
/// number of places that it leaves out after the one before.
#[derive(Default)]
pub(crate) struct Indexes {
    /// The least that the following one can be.
    next: u64,
}

impl Indexes {
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
        self.absolute(reader.compact_size(INDEX)?)
    }

    pub(crate) fn absolute(&mut self, difference: u64) -> Result<u32, DecodeError> {
        let index = self.next.checked_add(difference);
        let index = index.and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or(DecodeError::Invalid {
            field: INDEX,
            value: difference,
        })?;
        self.next = u64::from(index) + 1;
        Ok(index)
    }

    pub(crate) fn difference(&mut self, index: u32) -> Result<u64, DecodeError> {
        let index = u64::from(index);
        let difference = index.checked_sub(self.next).ok_or(DecodeError::Invalid {
            field: INDEX,
            value: index,
        })?;
        self.next = index + 1;
        Ok(difference)
    }
}

const INDEX: &str = "transaction index";
