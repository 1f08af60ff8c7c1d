//! `reject`: what the sender did not like.
//!
//! Source: BIP61; the node's `src/consensus/validation.h` and `src/net/net_types.h`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::Payload;
use crate::codec::{Reader, WriteExt, var_bytes_len};
use crate::command::Command;
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::text::escaped;

/// The longest reason that the node sends and takes (`MAX_REJECT_MESSAGE_LENGTH`). Others know no
/// limit, and what they say is worth hearing: of a longer one, this much is kept.
const MAX_REASON: usize = 111;

/// Why a message was rejected.
///
/// ```
/// use p2p_proto::RejectCode;
///
/// assert_eq!(RejectCode(0x44), RejectCode::TOO_BUSY);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RejectCode(pub u8);

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $byte:literal $name:literal,)*) => {
        impl RejectCode {
            $($(#[$doc])* pub const $code: Self = Self($byte);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The payload could not be parsed.
    MALFORMED = 0x01 "malformed",
    /// Against the rules.
    INVALID = 0x10 "invalid",
    /// The protocol version is too old.
    OBSOLETE = 0x11 "obsolete",
    /// Sent before.
    DUPLICATE = 0x12 "duplicate",
    /// Spends what is frozen.
    SOFT_CONSENSUS_FREEZE = 0x13 "soft consensus freeze",
    /// Not wanted, though valid.
    NONSTANDARD = 0x40 "non-standard",
    /// An output is worth less than spending it costs.
    DUST = 0x41 "dust",
    /// The fee is too low.
    INSUFFICIENT_FEE = 0x42 "insufficient fee",
    /// Against a checkpoint.
    CHECKPOINT = 0x43 "checkpoint",
    /// Come back later.
    TOO_BUSY = 0x44 "too busy",
    /// Sent too often.
    RATE_EXCEEDED = 0x45 "rate exceeded",
    /// A stream could not be set up, or a version message could not be parsed.
    STREAM_SETUP = 0x60 "stream set-up",
    /// An authentication failed.
    AUTH_SETUP = 0x70 "auth connection set-up",
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)?;
        match self.name() {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `reject`: the answer to a message that was not liked.
///
/// ```
/// use p2p_proto::{Command, Reject, RejectCode};
///
/// let reject = Reject::new(Command::PING, RejectCode::MALFORMED, "error parsing message");
/// assert_eq!(reject.to_string(), "ping: 0x01 (malformed): error parsing message");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    command: Bytes,
    code: RejectCode,
    reason: Bytes,
    hash: Option<Hash256>,
}

impl Reject {
    /// A reject of ours; the reason is cut at 111 bytes.
    pub fn new(command: Command, code: RejectCode, reason: impl Into<Bytes>) -> Self {
        let mut reason = reason.into();
        reason.truncate(MAX_REASON);
        Self {
            command: Bytes::copy_from_slice(command.as_str().as_bytes()),
            code,
            reason,
            hash: None,
        }
    }

    /// The same, naming the transaction or block; other commands carry no hash.
    #[must_use]
    pub fn with_hash(mut self, hash: Hash256) -> Self {
        self.hash = carries_hash(&self.command).then_some(hash);
        self
    }

    /// The command of the rejected message, as the peer wrote it: at most 12 bytes of anything.
    pub fn command(&self) -> &[u8] {
        &self.command
    }

    /// Why.
    pub fn code(&self) -> RejectCode {
        self.code
    }

    /// Why, in the peer's words: the first 111 bytes, of anything.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The transaction or block, for `tx` and `block`.
    pub fn hash(&self) -> Option<Hash256> {
        self.hash
    }
}

fn carries_hash(command: &[u8]) -> bool {
    command == b"tx" || command == b"block"
}

impl Payload for Reject {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.count_up_to(12, 1, "rejected command")?;
        let command = reader.take(len, "rejected command")?;
        let code = RejectCode(reader.u8("reject code")?);
        let len = reader.count(1, "reject reason")?;
        let reason = reader.take(len, "reject reason")?;
        let hash = if carries_hash(command) && reader.remaining() >= 32 {
            Some(reader.hash("rejected hash")?)
        } else {
            None
        };
        // It may be kept until the connection ends, and be all that is left of what it came in.
        Ok(Self {
            command: Bytes::copy_from_slice(command),
            code,
            reason: Bytes::copy_from_slice(&reason[..len.min(MAX_REASON)]),
            hash,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.command)
            + 1
            + var_bytes_len(&self.reason)
            + if self.hash.is_some() { 32 } else { 0 }
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.command);
        out.put_u8(self.code.0);
        out.put_var_bytes(&self.reason);
        if let Some(hash) = &self.hash {
            out.put_hash(hash);
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            escaped(&self.command),
            self.code,
            escaped(&self.reason)
        )?;
        match &self.hash {
            Some(hash) => write!(f, " ({hash})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reject({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_node() {
        let named: Vec<_> = (0..=u8::MAX)
            .map(RejectCode)
            .filter(|code| code.name().is_some())
            .collect();
        assert_eq!(
            named,
            [
                RejectCode::MALFORMED,
                RejectCode::INVALID,
                RejectCode::OBSOLETE,
                RejectCode::DUPLICATE,
                RejectCode::SOFT_CONSENSUS_FREEZE,
                RejectCode::NONSTANDARD,
                RejectCode::DUST,
                RejectCode::INSUFFICIENT_FEE,
                RejectCode::CHECKPOINT,
                RejectCode::TOO_BUSY,
                RejectCode::RATE_EXCEEDED,
                RejectCode::STREAM_SETUP,
                RejectCode::AUTH_SETUP,
            ]
        );
        assert_eq!(
            named.iter().map(|code| code.0).collect::<Vec<_>>(),
            [
                0x01, 0x10, 0x11, 0x12, 0x13, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x60, 0x70
            ]
        );
        assert_eq!(RejectCode::DUST.to_string(), "0x41 (dust)");
        assert_eq!(RejectCode(0x02).to_string(), "0x02");
    }
}
