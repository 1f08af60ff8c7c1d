//! Command names: the twelve bytes that say what a frame carries.

use std::fmt;

use thiserror::Error;

/// The name of a message, as it stands in a frame header: ASCII, padded with NUL to 12 bytes.
///
/// Any name of printable ASCII is a command; those that Bitcoin SV software uses are
/// constants (the node's `src/protocol.cpp`).
///
/// ```
/// use p2p_proto::Command;
///
/// assert_eq!(Command::VERACK.as_str(), "verack");
/// assert_eq!(Command::new("verack"), Some(Command::VERACK));
/// assert_eq!(Command::new("thirteen-char"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command([u8; 12]);

/// Twelve bytes that are not a command name.
///
/// The node drops such a frame without penalty (`src/protocol.cpp`, `CheckCommandFormat`).
///
/// ```
/// use p2p_proto::{BadCommand, Command};
///
/// let bytes = *b"ping\0\0x\0\0\0\0\0";
/// assert_eq!(Command::from_bytes(bytes), Err(BadCommand { at: 6, byte: b'x' }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("byte {at} of the command is {byte:#04x}")]
pub struct BadCommand {
    /// Position of the first wrong byte.
    pub at: usize,
    /// The byte: not printable before the first NUL, or not NUL after it.
    pub byte: u8,
}

impl Command {
    /// A command of this name; `None` if it is longer than 12 bytes or not printable ASCII.
    pub const fn new(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        if name.len() > 12 {
            return None;
        }
        let mut bytes = [0; 12];
        let mut i = 0;
        while i < name.len() {
            if !is_printable(name[i]) {
                return None;
            }
            bytes[i] = name[i];
            i += 1;
        }
        Some(Self(bytes))
    }

    /// Reads the field of a frame header.
    ///
    /// # Errors
    /// [`BadCommand`] for a byte outside 0x20..=0x7E before the first NUL, or anything but NUL after it.
    #[inline]
    pub fn from_bytes(bytes: [u8; 12]) -> Result<Self, BadCommand> {
        let mut ended = false;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte == 0 {
                ended = true;
            } else if ended || !is_printable(byte) {
                return Err(BadCommand { at, byte });
            }
        }
        Ok(Self(bytes))
    }

    /// The field of a frame header.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// The name, without the padding.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(12);
        // Printable ASCII is what every constructor let through.
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E)
}

macro_rules! commands {
    ($($constant:ident = $name:literal,)*) => {
        impl Command {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $constant: Self = match Self::new($name) {
                    Some(command) => command,
                    None => panic!("not a command name"),
                };
            )*

            /// Every command that [`Message`](crate::Message) has a variant for.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

commands! {
    VERSION = "version",
    VERACK = "verack",
    PROTOCONF = "protoconf",
    CREATESTRM = "createstrm",
    STREAMACK = "streamack",
    AUTHCH = "authch",
    AUTHRESP = "authresp",
    SENDHEADERS = "sendheaders",
    SENDHDRSEN = "sendhdrsen",
    SENDCMPCT = "sendcmpct",
    FEEFILTER = "feefilter",
    GETADDR = "getaddr",
    ADDR = "addr",
    INV = "inv",
    GETDATA = "getdata",
    NOTFOUND = "notfound",
    GETBLOCKS = "getblocks",
    GETHEADERS = "getheaders",
    GETHDRSEN = "gethdrsen",
    HEADERS = "headers",
    HDRSEN = "hdrsen",
    TX = "tx",
    BLOCK = "block",
    MERKLEBLOCK = "merkleblock",
    CMPCTBLOCK = "cmpctblock",
    GETBLOCKTXN = "getblocktxn",
    BLOCKTXN = "blocktxn",
    DATAREFTX = "datareftx",
    FILTERLOAD = "filterload",
    FILTERADD = "filteradd",
    FILTERCLEAR = "filterclear",
    MEMPOOL = "mempool",
    PING = "ping",
    PONG = "pong",
    REJECT = "reject",
    DSDETECTED = "dsdetected",
    REVOKEMID = "revokemid",
}

impl Command {
    /// Not a message: the mark of an extended header.
    pub const EXTMSG: Self = Self(*b"extmsg\0\0\0\0\0\0");
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_outside_printable_ascii_and_after_the_first_nul_are_refused() {
        assert_eq!(
            Command::from_bytes(*b"ping\0x\0\0\0\0\0\0"),
            Err(BadCommand { at: 5, byte: b'x' })
        );
        assert_eq!(
            Command::from_bytes(*b"pin\x7f\0\0\0\0\0\0\0\0"),
            Err(BadCommand { at: 3, byte: 0x7F })
        );
        assert_eq!(
            Command::from_bytes([0; 12]).map(|c| c.to_string()),
            Ok(String::new())
        );
        assert_eq!(
            Command::from_bytes(*b"twelve-bytes").map(|c| c.to_string()),
            Ok("twelve-bytes".into())
        );
    }

    #[test]
    fn known_commands_are_distinct() {
        let mut known = Command::KNOWN.to_vec();
        known.sort();
        known.dedup();
        assert_eq!(known.len(), Command::KNOWN.len());
    }
}
