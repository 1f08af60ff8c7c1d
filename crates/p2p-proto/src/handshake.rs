//! The handshake: four flags, true in any order that TCP allows.

use crate::config::Side;

/// How far the handshake has come; complete when all four flags are true.
///
/// The dialler sends its version at once, the listener after the peer's. Either side's version
/// is answered with verack. A peer's verack may come before its version: some software sends it
/// so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handshake {
    version_sent: bool,
    version_received: bool,
    verack_sent: bool,
    verack_received: bool,
}

/// What a version is answered with: verack, behind our version if that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether our version is still to be sent.
    pub(crate) send_version: bool,
}

/// A message that comes once came twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repeated;

impl Handshake {
    /// A handshake of this side; a dialler's version counts as sent.
    pub(crate) fn new(side: Side) -> Self {
        Self {
            version_sent: side == Side::Outbound,
            version_received: false,
            verack_sent: false,
            verack_received: false,
        }
    }

    /// The peer's version came and was found good; what is to be sent counts as sent. Whether it
    /// is the first is asked before it is read: [`has_version`](Self::has_version).
    pub(crate) fn version_received(&mut self) -> Answer {
        let answer = Answer {
            send_version: !self.version_sent,
        };
        self.version_received = true;
        self.version_sent = true;
        self.verack_sent = true;
        answer
    }

    /// The peer's verack came.
    ///
    /// # Errors
    /// [`Repeated`] when it came before.
    pub(crate) fn verack_received(&mut self) -> Result<(), Repeated> {
        if self.verack_received {
            return Err(Repeated);
        }
        self.verack_received = true;
        Ok(())
    }

    /// Whether the peer's version came.
    pub(crate) fn has_version(&self) -> bool {
        self.version_received
    }

    /// Whether all four flags are true.
    pub(crate) fn is_complete(&self) -> bool {
        self.version_sent && self.version_received && self.verack_sent && self.verack_received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_handshake_state_transitions() {
        let mut outbound = Handshake::new(Side::Outbound);
        assert!(outbound.version_sent && !outbound.verack_sent);
        assert!(!outbound.version_received().send_version);
        assert!(outbound.verack_sent && !outbound.is_complete());
        outbound.verack_received().unwrap();
        assert!(outbound.is_complete());

        let mut inbound = Handshake::new(Side::Inbound);
        assert!(!inbound.version_sent);
        assert!(inbound.version_received().send_version);
        assert!(inbound.version_sent && inbound.verack_sent);
    }

    #[test]
    fn test_handshake_handles_messages_in_any_order() {
        for side in [Side::Inbound, Side::Outbound] {
            for verack_first in [false, true] {
                let mut handshake = Handshake::new(side);
                if verack_first {
                    handshake.verack_received().unwrap();
                    assert!(!handshake.is_complete());
                    handshake.version_received();
                } else {
                    handshake.version_received();
                    assert!(!handshake.is_complete());
                    handshake.verack_received().unwrap();
                }
                assert!(handshake.is_complete(), "{side:?}, {verack_first}");
            }
        }
    }

    #[test]
    fn test_handshake_four_flags_all_required() {
        for flags in 0..16_u8 {
            let flag = |bit: u8| flags & (1 << bit) != 0;
            let handshake = Handshake {
                version_sent: flag(0),
                version_received: flag(1),
                verack_sent: flag(2),
                verack_received: flag(3),
            };
            assert_eq!(handshake.is_complete(), flags == 15, "{handshake:?}");
        }
    }

    #[test]
    fn what_comes_once_is_refused_twice() {
        let mut handshake = Handshake::new(Side::Inbound);
        handshake.version_received();
        handshake.verack_received().unwrap();
        assert!(handshake.has_version());
        assert_eq!(handshake.verack_received(), Err(Repeated));
        assert!(handshake.is_complete());
    }
}
