//! How long a payload may be: one that we take, and one that a peer takes.

use crate::command::Command;
use crate::error::SendError;
use crate::frame::HEADER_LEN;
use crate::message::{MIN_ANNOUNCED_PAYLOAD, Protoconf};

/// The longest payload taken, by command.
///
/// The node's own (`src/protocol.cpp`, `GetMaxMessageLength`), judged on the header before a
/// byte of the payload is kept.
///
/// ```
/// use p2p_proto::{Command, Limits};
///
/// let limits = Limits { block: 100_000_000, ..Limits::DEFAULT };
/// assert_eq!(limits.of(Command::BLOCK), 100_000_000);
/// assert_eq!(limits.of(Command::INV), 2 * 1024 * 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For every command that is not named below, known or not.
    pub message: u64,
    /// For `block`, `cmpctblock`, `blocktxn`, `hdrsen`, and by it for `getblocktxn`.
    pub block: u64,
}

impl Limits {
    /// 2 MiB for ordinary messages, as the node; blocks without a limit, for their payload
    /// passes in constant memory.
    pub const DEFAULT: Self = Self {
        message: 2_097_152,
        block: u64::MAX,
    };

    /// The longest `protoconf`: 1 MiB.
    const PROTOCONF: u64 = 1_048_576;
    /// The largest transaction by consensus since Genesis.
    const TX: u64 = 1_000_000_000;
    /// The node's idea of the bytes a transaction takes at least, to bound the indexes of a block.
    const TX_ESTIMATE: u64 = 215;

    /// The longest payload of this command, in bytes.
    #[inline]
    pub fn of(&self, command: Command) -> u64 {
        match command {
            Command::BLOCK | Command::CMPCTBLOCK | Command::BLOCKTXN | Command::HDRSEN => {
                self.block
            }
            // One that is longer than a block may be is in none.
            Command::TX | Command::DATAREFTX => Self::TX.min(self.block),
            Command::GETBLOCKTXN => {
                (self.block / Self::TX_ESTIMATE * 6).saturating_add(HEADER_LEN as u64)
            }
            Command::PROTOCONF => Self::PROTOCONF.min(self.message),
            _ => self.message,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a peer takes.
///
/// ```
/// use p2p_proto::{Command, PeerLimits, SendError};
///
/// // Until the peer has said more, what every node takes.
/// let limits = PeerLimits::default();
/// assert_eq!(limits.of(Command::INV), 1_048_576);
/// assert_eq!(limits.check(Command::VERACK, 0), Err(SendError::Reserved));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    announced: u32,
    takes_extended: bool,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            announced: MIN_ANNOUNCED_PAYLOAD,
            takes_extended: false,
        }
    }
}

impl PeerLimits {
    /// The limits of a peer that has told these, and with which this version is spoken.
    pub(crate) fn new(protoconf: Option<&Protoconf>, version: i32) -> Self {
        Self {
            announced: protoconf.map_or(MIN_ANNOUNCED_PAYLOAD, Protoconf::max_payload),
            takes_extended: version >= EXTENDED_VERSION,
        }
    }

    /// The longest payload of this command, in bytes.
    pub fn of(&self, command: Command) -> u64 {
        let limit = Limits {
            message: self.announced.into(),
            ..Limits::DEFAULT
        }
        .of(command);
        match self.takes_extended {
            true => limit,
            false => limit.min(u32::MAX.into()),
        }
    }

    /// Whether the application may send the peer this command with a payload of this length.
    ///
    /// # Errors
    /// [`SendError::Reserved`], [`SendError::TooLarge`].
    pub fn check(&self, command: Command, length: u64) -> Result<(), SendError> {
        if let Command::VERSION | Command::VERACK | Command::PROTOCONF | Command::EXTMSG = command {
            return Err(SendError::Reserved);
        }
        let limit = self.of(command);
        if length > limit {
            return Err(SendError::TooLarge { length, limit });
        }
        Ok(())
    }
}

/// Peers from this version on take extended frames.
const EXTENDED_VERSION: i32 = 70016;
