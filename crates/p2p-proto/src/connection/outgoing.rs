//! What goes out: the application's messages, those of the handshake, and their way to the socket.

use std::time::Instant;

use bytes::Bytes;

use super::timers::PingOut;
use super::{Connection, Flow, Phase};
use crate::command::Command;
use crate::config::PROTOCOL_VERSION;
use crate::error::SendError;
use crate::frame::{EncodedMessage, FrameHeader};
use crate::limits::PeerLimits;
use crate::message::{
    Message, NetworkAddress, Nonce, Protoconf, Reject, RejectCode, Services, Version, VersionFields,
};

impl Connection {
    // inputs

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError::Full`] until the peer has read some of what waits; the others say what is
    /// wrong with the call.
    pub fn send(&mut self, now: Instant, message: &Message) -> Result<(), SendError> {
        self.at(now);
        let length = message.payload_len() as u64;
        self.check_send(message.command(), length)?;
        self.out.push(message);
        self.count_sent(message.command(), length);
        Ok(())
    }

    /// Queues a message that was encoded once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_encoded(
        &mut self,
        now: Instant,
        message: &EncodedMessage,
    ) -> Result<(), SendError> {
        self.at(now);
        if message.magic != self.out.magic() {
            return Err(SendError::OtherNetwork);
        }
        self.check_send(message.command(), message.header.length)?;
        self.out.push_frame(&message.header, &message.payload);
        self.count_sent(message.command(), message.header.length);
        Ok(())
    }

    /// Begins a payload that is given in pieces; [`send_chunk`](Self::send_chunk) and
    /// [`send_end`](Self::send_end) follow.
    ///
    /// Up to 2^32 - 1 bytes the header carries the checksum, so it must be known now; above, the
    /// frame is an `extmsg`, which has none. Until the payload is complete no other frame can
    /// leave, pongs included, and no timeout can notice a peer that is gone: give it without
    /// delay, or [`close`](Self::close).
    ///
    /// # Errors
    /// As [`send`](Self::send), [`SendError::Full`] also until the payload before has left;
    /// [`SendError::Checksum`], [`SendError::Streaming`].
    pub fn send_begin(
        &mut self,
        now: Instant,
        command: Command,
        length: u64,
        checksum: Option<[u8; 4]>,
    ) -> Result<(), SendError> {
        self.at(now);
        self.check_open()?;
        if checksum.is_some() != (length <= u64::from(u32::MAX)) {
            return Err(SendError::Checksum);
        }
        match self.out.stream_left() {
            Some(_) => return Err(SendError::Streaming),
            // All of the one before was given, and not all of it has left.
            None if self.out.is_streaming() => return Err(SendError::Full),
            None => {}
        }
        self.check_room(self.out.unwritten(), 0)?;
        self.check_peer_limit(command, length)?;
        self.out.begin_stream(&FrameHeader {
            command,
            length,
            checksum,
        });
        self.count_sent(command, length);
        Ok(())
    }

    /// The next piece of the payload.
    ///
    /// # Errors
    /// [`SendError::Full`] until the peer has read some of what waits, [`SendError::WrongLength`]
    /// when it is longer than what was announced, [`SendError::NotStreaming`].
    pub fn send_chunk(&mut self, now: Instant, chunk: Bytes) -> Result<(), SendError> {
        self.at(now);
        self.check_open()?;
        let left = self.out.stream_left().ok_or(SendError::NotStreaming)?;
        let length = chunk.len() as u64;
        if length > left {
            return Err(SendError::WrongLength {
                by: length - left,
                over: true,
            });
        }
        self.check_room(self.out.stream_unwritten(), length)?;
        self.out.push_chunk(chunk);
        Ok(())
    }

    /// The payload is complete.
    ///
    /// # Errors
    /// [`SendError::WrongLength`] when pieces are missing, [`SendError::NotStreaming`].
    pub fn send_end(&mut self, now: Instant) -> Result<(), SendError> {
        self.at(now);
        self.check_open()?;
        match self.out.stream_left() {
            None => Err(SendError::NotStreaming),
            Some(0) => {
                self.out.end_stream();
                Ok(())
            }
            Some(by) => Err(SendError::WrongLength { by, over: false }),
        }
    }

    /// The socket has taken `n` more bytes of what [`poll_transmit`](Self::poll_transmit) gave.
    /// The clock of a ping and of a peer that does not read depends on it.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        self.at(now);
        self.out.written(n);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(n as u64);
        // Once it ends, the flush has a deadline of its own.
        self.timers.write = match self.out.in_flight() && !self.is_closing() {
            true => now.checked_add(self.config.ping_timeout),
            false => None,
        };
        if let PingOut::Taken(end) = self.ping_out
            && self.out.written_total() >= end
        {
            self.ping_out = PingOut::None;
            self.pinger.handed_over(now);
        }
    }

    // outputs

    /// The next bytes for the socket, headers and payloads uncopied. Call it when the socket can
    /// take some, and report what it took by [`handle_written`](Self::handle_written).
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let was_in_flight = self.out.in_flight();
        let bytes = self.out.take()?;
        if !was_in_flight && !self.is_closing() {
            self.timers.write = self.now.checked_add(self.config.ping_timeout);
        }
        if self.ping_out == PingOut::Queued && self.out.control_len() == 0 {
            self.ping_out = PingOut::Taken(self.out.taken_total());
        }
        Some(bytes)
    }

    // getters

    /// What the peer takes, as it has said so far.
    pub fn peer_limits(&self) -> PeerLimits {
        PeerLimits::new(self.peer.protoconf.as_deref(), self.negotiated_version())
    }

    // private

    pub(super) fn control(&mut self, message: &Message) {
        self.out.push_control(message);
        self.count_sent(message.command(), message.payload_len() as u64);
    }

    /// Answers a ping. A payload that is the ping's own has its checksum.
    pub(super) fn pong(&mut self, nonce: Nonce, checksum: Option<[u8; 4]>) {
        let Some(checksum) = checksum else {
            return self.control(&Message::Pong(nonce));
        };
        let payload = nonce.0.to_le_bytes();
        let header = FrameHeader {
            command: Command::PONG,
            length: payload.len() as u64,
            checksum: Some(checksum),
        };
        self.out.push_control_frame(&header, &payload);
        self.count_sent(Command::PONG, header.length);
    }

    pub(super) fn reject(&mut self, command: Command, code: RejectCode, reason: impl Into<Bytes>) {
        self.control(&Message::Reject(Box::new(Reject::new(
            command, code, reason,
        ))));
    }

    pub(super) fn send_version(&mut self) {
        let config = &self.config;
        let services = match self.handshake.has_version() {
            true => Services::NONE,
            // What a dialler may assume of whom it dials.
            false => Services::NETWORK,
        };
        let version = Version {
            version: PROTOCOL_VERSION,
            services: config.services,
            timestamp: i64::try_from(self.params.clock.unix(self.now).as_secs())
                .unwrap_or(i64::MAX),
            addr_recv: NetworkAddress::new(services, self.params.remote),
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
            self.control(&Message::Protoconf(Box::new(protoconf)));
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

    /// An empty queue takes one message of any size, or large ones could never leave.
    pub(super) fn check_room(&self, unwritten: u64, length: u64) -> Result<(), SendError> {
        let wanted = unwritten.saturating_add(length);
        if unwritten > 0 && wanted > self.config.send_queue_bytes as u64 {
            return Err(SendError::Full);
        }
        Ok(())
    }

    fn count_sent(&mut self, command: Command, length: u64) {
        self.stats.messages_sent += 1;
        self.tallies.count(Flow::Sent, command, length);
    }
}
