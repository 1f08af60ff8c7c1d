//! The Bitcoin SV peer-to-peer protocol as a pure state machine: bytes in, messages out.
//!
//! This crate opens no socket, reads no clock, starts no task and draws no random number that it
//! was not given. It can be driven by tokio, by a blocking loop, or by a simulator that replays
//! a run byte for byte.
//!
//! ```text
//!                bytes from the socket
//!                         │  Connection::receive
//!                         ▼
//!                 ┌──────────────┐   magic, command, length by command and trust, checksum
//!                 │ FrameDecoder │──────────────────────────────► dropped, or the end
//!                 └──────┬───────┘
//!        small or medium │      │ above stream_above
//!                        ▼      ▼
//!              Message::decode  PayloadEvent
//!                        │      │
//!      version, verack   │      │   ping answered, pong matched,
//!    ┌───────────────────┤      │   protoconf and sendheaders noted
//!    ▼                   ▼      ▼
//!  Handshake ─► Ready ─► Message, Payload ─► Closed          Connection::poll_event
//! ```
//!
//! The way out is the mirror: [`Connection::send`] encodes and hashes, a large payload is queued
//! as it is and never copied, [`Connection::poll_transmit`] hands out bytes, control frames
//! first at the next frame boundary.
//!
//! # The driving loop
//!
//! [`Connection`] tells it, with an example; the shape is always this:
//!
//! ```text
//! loop {
//!     write what poll_transmit gives, as far as the socket takes it; report it by handle_written
//!     receive, then every poll_event, until receive takes no more
//!     wait for: the socket (to read only while wants_read), poll_timeout, the application
//! }
//! ```
//!
//! # Parts
//!
//! - [`Connection`], its [`Config`], [`Params`] and [`Event`]s: one peer, from the first byte to
//!   [`CloseReason`].
//! - [`FrameDecoder`] and [`encode_frame`]: framing alone, for those who want no more.
//! - [`Message`]: every message, typed. Variable-sized ones are views over shared bytes.
//! - [`TxSplitter`]: the transactions of a block of any size, in bounded memory.
//! - [`PeerPolicy`]: is it Bitcoin SV? [`Network`]: whose magic? [`codec`]: the primitive types.
//!
//! # What a peer can do wrong, and what happens
//!
//! The node's own reactions are in its `src/net/net_processing.cpp`; where ours differ there is
//! a reason.
//!
//! | fault | reaction | why |
//! |---|---|---|
//! | wrong magic in the first frame | close, [`Violation::NetworkMismatch`] | another network, or no peer at all |
//! | wrong magic later | close, [`CloseReason::FramingLost`] | where the next frame begins is unknown; no ban, for a fault of the line looks the same |
//! | announced length over the command's [`Limits`], before the handshake is complete | close, [`Violation::Oversize`] | judged on the header, before a byte is kept |
//! | the same, after it | close, [`CloseReason::FramingLost`] | the node would ban; a peer that has proved itself may be newer than we are |
//! | payload above [`HANDSHAKE_PAYLOAD`] before the handshake is complete | skipped in constant memory, 1 point | a stranger is trusted with little |
//! | malformed `version`, or one above [`HANDSHAKE_PAYLOAD`] | `reject` 0x01, close, [`Violation::MalformedVersion`] | nothing can be agreed with it |
//! | protocol version below the minimum | `reject` 0x11, close, [`CloseReason::ObsoleteVersion`] | honest, but too old |
//! | agent of another chain, or on the operator's list | close, [`Violation::OtherChain`] or [`Violation::BannedUserAgent`] | silent, as the node bans |
//! | second `version` | `reject` 0x12, dropped, 1 point | as the node |
//! | second `verack`, second `protoconf` | dropped, 1 point | harmless; the node would hang up for the second |
//! | `reject` 0x44 of our `version`, or any before the handshake is complete, and then the end | [`CloseReason::RejectedByPeer`] | the peer has said why |
//! | message before the handshake is complete, `protoconf`, `authch`, `authresp` and `reject` apart | dropped, 1 point | as the node |
//! | command bytes that are no command | dropped, 1 point | as the node; there is nothing to name in a `reject` |
//! | bad checksum | dropped, 1 point | as the node |
//! | payload that does not decode | `reject` 0x01, dropped, 10 points | as the node; a `reject` is never answered with one |
//! | bytes after the last field, unknown command | accepted | that is how the protocol grows |
//! | `pong` with a nonce that is not ours | passed on, counted | the node ignores it too |
//! | 100 points used up; one comes back every 10 s | close, [`CloseReason::Misbehavior`] | no ban: each alone is forgivable |
//! | handshake not complete in time | close, [`CloseReason::HandshakeTimeout`] | |
//! | pong overdue | close, [`CloseReason::PingTimeout`] | unless a frame is coming in at [`Config::min_payload_rate`] or faster |
//! | takes none of our bytes for the ping timeout | close, [`CloseReason::WriteTimeout`] | a ping that cannot leave would never time out |
//! | asks without reading the answers | not read from until it does | 64 KiB of answers wait, no more |
//!
//! Time stands still for the peer while our own side does not read. A close that is the peer's
//! doing, or says that it is not wanted, drops what the application has queued; one in good order
//! (requested, evicted, duplicate, shutdown) flushes it, for a second at most.
//!
//! # Memory
//!
//! Everything is bounded: the decoder keeps nothing but a hash state (a partial payload stays in
//! the driver's buffer, which grows as bytes arrive), small payloads that come together share
//! blocks of [`ARENA_BLOCK`], so a message that is kept keeps that much alive, one event waits and
//! no more are made, what is to be sent is bounded by [`Config::send_queue_bytes`], unanswered
//! pings by eight. Nothing is reserved for what a header or a count announces.
//!
//! # Panics
//!
//! No input of a peer's can cause one.

#![warn(clippy::wildcard_enum_match_arm)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test needs one moment to start from"
    )
)]

pub mod codec;

mod arena;
mod chain;
mod clock;
mod close;
mod command;
mod config;
mod connection;
mod decoder;
mod error;
mod event;
mod frame;
mod handshake;
mod hash;
mod limits;
mod message;
mod network;
mod offence;
mod ping;
mod send_queue;
#[cfg(feature = "serde")]
mod serde_text;
mod splitter;
mod text;

pub use arena::ARENA_BLOCK;
pub use chain::{
    ChainPolicy, NODE_BANS, PeerPolicy, Refusal, StandardPolicy, banned_by_nodes, other_chain,
};
pub use clock::Clock;
pub use close::{CloseReason, Initiator, NetworkFailure, Violation};
pub use command::{BadCommand, Command};
pub use config::{Capacity, Config, PROTOCOL_VERSION, Params, Side};
pub use connection::{Connection, Flow, Stats, Tally, Timer};
pub use decoder::{Body, Decoded, Dropped, FrameDecoder, FrameError, HANDSHAKE_PAYLOAD, Trust};
pub use error::{DecodeError, SendError};
pub use event::{DiscardReason, Discarded, Event, PayloadEvent, Ready};
pub use frame::{
    COPY_UP_TO, EXTENDED_HEADER_LEN, EncodedMessage, FrameHeader, HEADER_LEN, encode_frame,
};
pub use hash::{Hash256, ParseHashError, Sha256d, checksum};
pub use limits::{Limits, PeerLimits};
pub use message::*;
pub use network::{Network, ParseNetworkError};
pub use offence::Offence;
pub use splitter::{BlockPart, BlockSummary, MAX_WHOLE_TX, TxSplitter};
pub use text::{MAX_USER_AGENT, UserAgent, escaped};
