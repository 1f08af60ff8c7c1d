//! Text from a peer, made safe to print.

use std::fmt;

use bytes::Bytes;

/// The longest user agent that the node takes (`MAX_SUBVERSION_LENGTH`).
pub const MAX_USER_AGENT: usize = 256;

/// A user agent: bytes as the peer sent them, shown escaped.
///
/// `Display` writes printable ASCII as it is and everything else, the backslash included, as an
/// escape, so that no agent can forge a line of a log or steer a terminal.
///
/// ```
/// use p2p_proto::UserAgent;
///
/// let agent = UserAgent::from_static("/Bitcoin SV:1.2.2/");
/// assert_eq!(agent.to_string(), "/Bitcoin SV:1.2.2/");
/// let hostile = UserAgent::new(&b"/x/\n\x1b[2J"[..]).unwrap();
/// assert_eq!(hostile.to_string(), r"/x/\n\x1b[2J");
/// assert!(UserAgent::new(vec![b'a'; 257]).is_none());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAgent(Bytes);

impl UserAgent {
    /// A user agent of these bytes; `None` above [`MAX_USER_AGENT`] bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= MAX_USER_AGENT).then_some(Self(bytes))
    }

    /// A user agent known when the program is written.
    ///
    /// # Panics
    /// Above [`MAX_USER_AGENT`] bytes: in a constant, at compile time.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            text.len() <= MAX_USER_AGENT,
            "a user agent has at most 256 bytes"
        );
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&escaped(&self.0), f)
    }
}

impl fmt::Debug for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Shows bytes of a peer's as printable ASCII, everything else escaped.
///
/// ```
/// assert_eq!(p2p_proto::escaped(b"a\\\0\xff").to_string(), r"a\\\x00\xff");
/// ```
pub fn escaped(bytes: &[u8]) -> impl fmt::Display + '_ {
    bytes.escape_ascii()
}
