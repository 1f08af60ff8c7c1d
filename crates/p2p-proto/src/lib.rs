//! TODO
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod codec;

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
mod message;
mod network;
mod offence;
mod ping;
mod send_queue;
mod splitter;
mod text;

pub use chain::{
    ChainPolicy, NODE_BANS, PeerPolicy, Refusal, StandardPolicy, banned_by_nodes, other_chain,
};
pub use clock::Clock;
pub use close::{CloseReason, Initiator, NetworkFailure, SendError, Violation};
pub use command::{BadCommand, Command};
pub use config::{Capacity, Config, PROTOCOL_VERSION, Params, Side};
pub use connection::{Connection, Stats, Timer};
pub use decoder::{Body, Decoded, Dropped, FrameDecoder, FrameError, HANDSHAKE_PAYLOAD, Trust};
pub use error::{DecodeError, ParseHashError};
pub use event::{DiscardReason, Discarded, Event, PayloadEvent, Ready};
pub use frame::{
    COPY_UP_TO, EXTENDED_HEADER_LEN, EncodedMessage, FrameHeader, HEADER_LEN, Limits, encode_frame,
};
pub use handshake::{Answer, Handshake, Repeated};
pub use hash::{Hash256, Sha256d, checksum};
pub use message::*;
pub use network::{Network, ParseNetworkError};
pub use offence::Offence;
pub use splitter::{BlockPart, BlockSummary, MAX_WHOLE_TX, TxSplitter};
pub use text::{MAX_USER_AGENT, UserAgent, escaped};
