//! What goes out: the messages of the handshake, and the limits on those of the application.

use bytes::Bytes;

use super::{Connection, Phase};
use crate::close::SendError;
use crate::command::Command;
use crate::config::PROTOCOL_VERSION;
use crate::frame::Limits;
use crate::message::{
    MIN_ANNOUNCED_PAYLOAD, Message, NetworkAddress, Protoconf, Reject, RejectCode, Services,
    Version, VersionFields,
};

/// Peers from this version on take extended frames.
const EXTENDED_VERSION: i32 = 70016;

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

impl Connection {
    pub(super) fn control(&mut self, message: &Message) {
        self.out.push_control(message);
        self.count_sent(message.command(), message.payload_len() as u64);
    }

    pub(super) fn reject(&mut self, command: Command, code: RejectCode, reason: impl Into<Bytes>) {
        self.control(&Message::Reject(Reject::new(command, code, reason)));
    }

    pub(super) fn send_version(&mut self) {
        let config = &self.config;
        let side = match self.handshake.has_version() {
            true => Services::NONE,
            // What a dialler may assume of whom it dials.
            false => Services::NETWORK,
        };
        let version = Version {
            version: PROTOCOL_VERSION,
            services: config.services,
            timestamp: i64::try_from(self.params.clock.unix(self.now).as_secs())
                .unwrap_or(i64::MAX),
            addr_recv: NetworkAddress::new(side, self.params.remote),
            addr_from: NetworkAddress {
                services: config.services,
                port: config.listen_port,
                ..NetworkAddress::UNSPECIFIED
            },
            nonce: self.params.nonce,
            user_agent: config.user_agent.clone(),
            start_height: config.start_height,
            relay: config.relay,
            association_id: Bytes::new(),
            fields: VersionFields::AssociationId,
        };
        self.control(&Message::Version(Box::new(version)));
    }

    pub(super) fn send_protoconf(&mut self) {
        // Not below the minimum, and a short list: there is nothing to refuse.
        if let Ok(protoconf) = Protoconf::new(self.announced, "Default") {
            self.control(&Message::Protoconf(protoconf));
        }
    }

    pub(super) fn check_open(&self) -> Result<(), SendError> {
        match self.phase {
            Phase::Handshaking | Phase::AwaitingAdmission(_) => Err(SendError::NotReady),
            Phase::Closing(_) | Phase::Closed => Err(SendError::Closed),
            Phase::Connected => Ok(()),
        }
    }

    pub(super) fn check_send(&self, command: Command, length: u64) -> Result<(), SendError> {
        self.check_open()?;
        self.check_peer_limit(command, length)?;
        self.check_room(self.out.unwritten(), length)
    }

    pub(super) fn check_peer_limit(&self, command: Command, length: u64) -> Result<(), SendError> {
        self.peer_limits().check(command, length)
    }

    /// What the peer takes, as it has said so far.
    pub fn peer_limits(&self) -> PeerLimits {
        PeerLimits {
            announced: self
                .peer
                .protoconf
                .as_ref()
                .map_or(MIN_ANNOUNCED_PAYLOAD, Protoconf::max_payload),
            takes_extended: self.negotiated_version() >= EXTENDED_VERSION,
        }
    }

    /// An empty queue takes one message of any size, or large ones could never leave.
    pub(super) fn check_room(&self, unwritten: u64, length: u64) -> Result<(), SendError> {
        let wanted = unwritten.saturating_add(length);
        if unwritten > 0 && wanted > self.config.send_queue_bytes as u64 {
            return Err(SendError::Full);
        }
        Ok(())
    }
}
