//! What comes in: frames turned into answers, facts about the peer, and events.

use super::{Connection, Flow, Phase};
use crate::chain::Refusal;
use crate::close::{CloseReason, Violation};
use crate::command::Command;
use crate::config::Capacity;
use crate::decoder::{Body, Decoded, Dropped, FrameError, HANDSHAKE_PAYLOAD, Trust};
use crate::error::DecodeError;
use crate::event::{DiscardReason, Discarded, Event, PayloadEvent, Ready};
use crate::handshake::Repeated;
use crate::message::{Message, RejectCode, Version};
use crate::offence::Offence;

/// Peers from this version on are sent our `protoconf`.
const PROTOCONF_VERSION: i32 = 70015;
/// The payload of a ping and of its pong; what follows the nonce of a ping is not sent back.
const NONCE_LEN: u64 = 8;
/// Peers from this version on know `sendheaders`.
const SENDHEADERS_VERSION: i32 = 70012;

impl Connection {
    pub(super) fn framing_failed(&mut self, error: FrameError) {
        let handshaking = matches!(self.phase, Phase::Handshaking);
        let reason = match error {
            FrameError::BadMagic { expected, received } if self.first_frame => {
                CloseReason::Violation(Violation::NetworkMismatch { expected, received })
            }
            FrameError::Oversize { .. } if handshaking => {
                CloseReason::Violation(Violation::Oversize(error))
            }
            FrameError::BadMagic { .. } | FrameError::Oversize { .. } => {
                CloseReason::FramingLost(error)
            }
        };
        self.close(self.now, reason);
    }

    pub(super) fn decoded(&mut self, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Frame { command, body } => {
                self.count_received(command, body.as_bytes().len() as u64);
                match command {
                    Command::VERSION => self.version_frame(body),
                    Command::VERACK => self.verack(body.as_bytes().len() as u64),
                    _ if matches!(self.phase, Phase::Handshaking) => {
                        self.early_frame(command, body);
                    }
                    _ => self.frame(command, body),
                }
            }
            Decoded::Dropped {
                command,
                length,
                why,
            } => self.dropped(command, length, why),
            Decoded::Payload(event) => self.payload(event),
        }
    }

    fn version_frame(&mut self, body: Body<'_>) {
        if self.handshake.has_version() {
            return self.repeated_version(body.as_bytes().len() as u64);
        }
        match body.decode(Command::VERSION) {
            Ok(Message::Version(version)) => self.version(version),
            Ok(_) => {}
            Err(error) => self.malformed_version(error),
        }
    }

    fn verack(&mut self, length: u64) {
        match self.handshake.verack_received() {
            Ok(()) => self.complete_handshake(),
            Err(Repeated) => self.repeated(Command::VERACK, length),
        }
    }

    /// A frame before the handshake is complete.
    fn early_frame(&mut self, command: Command, body: Body<'_>) {
        match command {
            // Some send it before their verack. The application hears of it after `Ready`.
            Command::PROTOCONF => self.frame(command, body),
            // A peer may say why it will not have us.
            Command::REJECT => match body.decode(command) {
                Ok(Message::Reject(reject)) => self.peer.reject = Some(reject),
                _ => self.stats.discarded += 1,
            },
            // A node may send these before verack; they are answered by miners only.
            Command::AUTHCH | Command::AUTHRESP => {}
            _ => {
                self.stats.discarded += 1;
                self.offend(Offence::Early(command));
            }
        }
    }

    fn version(&mut self, version: Box<Version>) {
        let least = self.config.min_protocol_version;
        if version.version < least {
            let reason = format!("Version must be {least} or greater");
            self.reject(Command::VERSION, RejectCode::OBSOLETE, reason);
            let version = version.version;
            return self.close(self.now, CloseReason::ObsoleteVersion { version, least });
        }
        if let Err(refusal) = self.config.policy.check(&version) {
            let user_agent = version.user_agent;
            return match refusal {
                Refusal::OtherChain => self.violation(Violation::OtherChain { user_agent }),
                Refusal::BannedUserAgent => {
                    self.violation(Violation::BannedUserAgent { user_agent });
                }
                Refusal::Unwanted { why } => self.close(self.now, CloseReason::Unwanted { why }),
            };
        }
        let peer_version = version.version;
        self.peer.version = Some(version);
        let answer = self.handshake.version_received();
        if answer.send_version {
            self.send_version();
        }
        self.control(&Message::Verack);
        if peer_version >= PROTOCONF_VERSION {
            self.send_protoconf();
        }
        self.complete_handshake();
    }

    fn complete_handshake(&mut self) {
        let (true, Some(version)) = (self.handshake.is_complete(), &self.peer.version) else {
            return;
        };
        let version = Version::clone(version);
        // It was about something that did not matter.
        self.peer.reject = None;
        self.timers.handshake = None;
        self.decoder.set_trust(Trust::Peer);
        if self.params.capacity == Capacity::Full {
            self.reject(Command::VERSION, RejectCode::TOO_BUSY, "connection limit");
            return self.close(self.now, CloseReason::OverCapacity);
        }
        if version.version >= SENDHEADERS_VERSION {
            self.control(&Message::SendHeaders);
        }
        self.phase =
            Phase::AwaitingAdmission(Some(Box::new(Ready::new(version, self.params.nonce))));
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all other messages are the application's"
    )]
    fn frame(&mut self, command: Command, body: Body<'_>) {
        let length = body.as_bytes().len() as u64;
        let checksum = body.checksum();
        let message = match body.decode_into(&mut self.arena, command) {
            Ok(message) => message,
            Err(error) => return self.malformed(command, length, error),
        };
        match &message {
            Message::Ping(nonce) => self.pong(*nonce, checksum.filter(|_| length == NONCE_LEN)),
            Message::Pong(nonce) => {
                let known = self.pinger.pong(self.now, *nonce).is_some();
                self.stats.unknown_pongs += u64::from(!known);
            }
            Message::SendHeaders => self.peer.send_headers = true,
            Message::Protoconf(_) if self.peer.protoconf.is_some() => {
                return self.repeated(command, length);
            }
            // A peer that has no room says so behind its verack, and hangs up. The same code about
            // another message is no reason to: a node that cannot serve a `getdata` now stays.
            Message::Reject(reject)
                if reject.code() == RejectCode::TOO_BUSY
                    && reject.command() == Command::VERSION.as_str().as_bytes() =>
            {
                self.peer.reject = Some(reject.clone());
            }
            Message::Protoconf(protoconf) => {
                self.peer.protoconf = Some(Box::new(protoconf.known()))
            }
            _ => {}
        }
        self.events.push_back(Event::Message(message));
    }

    fn payload(&mut self, event: PayloadEvent) {
        if let PayloadEvent::Begin { command, length } = event {
            self.count_received(command, length);
            self.streaming = command;
        }
        let bad = matches!(
            event,
            PayloadEvent::End {
                checksum_ok: Some(false)
            }
        );
        self.events.push_back(Event::Payload(event));
        if bad {
            self.stats.discarded += 1;
            self.offend(Offence::BadChecksum(self.streaming));
        }
    }

    fn malformed_version(&mut self, error: DecodeError) {
        let command = Command::VERSION;
        self.reject(command, RejectCode::MALFORMED, "error parsing message");
        self.violation(Violation::MalformedVersion(error));
    }

    fn repeated_version(&mut self, length: u64) {
        let command = Command::VERSION;
        self.reject(command, RejectCode::DUPLICATE, "Duplicate version message");
        self.repeated(command, length);
    }

    fn repeated(&mut self, command: Command, length: u64) {
        self.discard(Some(command), length, DiscardReason::Repeated);
        self.offend(Offence::Repeated(command));
    }

    fn malformed(&mut self, command: Command, length: u64, error: DecodeError) {
        // A reject is never answered with one.
        if command != Command::REJECT {
            self.reject(command, RejectCode::MALFORMED, "error parsing message");
        }
        self.discard(Some(command), length, DiscardReason::Payload(error));
        self.offend(Offence::Malformed { command, error });
    }

    fn dropped(&mut self, command: Option<Command>, length: u64, why: Dropped) {
        let offence = match (why, command) {
            (Dropped::TooLargeYet, Some(Command::VERSION)) if self.handshake.has_version() => {
                return self.repeated_version(length);
            }
            (Dropped::TooLargeYet, Some(Command::VERSION)) => {
                return self.malformed_version(DecodeError::TooLarge {
                    field: "version",
                    value: length,
                    max: HANDSHAKE_PAYLOAD,
                });
            }
            (Dropped::BadChecksum, Some(command)) => Some(Offence::BadChecksum(command)),
            (Dropped::TooLargeYet, Some(command)) => Some(Offence::TooLargeYet { command, length }),
            (Dropped::BadCommand(bad), _) => Some(Offence::BadCommand(bad)),
            (Dropped::BadChecksum | Dropped::TooLargeYet, None) => None,
        };
        self.discard(command, length, DiscardReason::Frame(why));
        if let Some(offence) = offence {
            self.offend(offence);
        }
    }

    fn count_received(&mut self, command: Command, length: u64) {
        self.stats.messages_received += 1;
        self.tallies.count(Flow::Received, command, length);
    }

    fn discard(&mut self, command: Option<Command>, length: u64, why: DiscardReason) {
        self.stats.discarded += 1;
        if matches!(self.phase, Phase::Handshaking) {
            return;
        }
        let discarded = Discarded {
            command,
            length,
            why,
        };
        self.events.push_back(Event::Discarded(discarded));
    }

    fn offend(&mut self, offence: Offence) {
        if !self.budget.charge(self.now, &offence) {
            self.close(self.now, CloseReason::Misbehavior(offence));
        }
    }

    fn violation(&mut self, violation: Violation) {
        self.close(self.now, CloseReason::Violation(violation));
    }
}
