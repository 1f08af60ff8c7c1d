//! Finds where a transaction ends, though it comes in pieces.

use bytes::Bytes;

use super::Tx;
use crate::codec::{MAX_SIZE, Reader};
use crate::error::DecodeError;

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
