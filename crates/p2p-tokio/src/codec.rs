//! Framing alone, for those who bring everything else: [`MessageCodec`].

use std::io;

use bytes::BytesMut;
use p2p_proto::{
    Decoded, DiscardReason, Discarded, EncodedMessage, FrameDecoder, FrameError, Limits, Message,
    Network, encode_frame,
};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

/// Frames of a network, as messages: for [`tokio_util::codec::Framed`].
///
/// No handshake, no pings, no policy. A frame that is bad by itself (checksum, command, payload)
/// comes out as [`Discarded`], and the stream goes on; after a bad header nothing means anything,
/// and the stream ends with [`CodecError`].
///
/// Payloads are gathered whole, so the limits bound the memory of a connection.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_tokio::{Message, MessageCodec, Network};
/// use p2p_tokio::p2p_proto::Nonce;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = MessageCodec::new(Network::Regtest);
/// let mut bytes = BytesMut::new();
/// codec.encode(Message::Ping(Nonce(7)), &mut bytes)?;
/// assert_eq!(codec.decode(&mut bytes)?, Some(Ok(Message::Ping(Nonce(7)))));
/// assert_eq!(codec.decode(&mut bytes)?, None);
/// # Ok::<(), p2p_tokio::CodecError>(())
/// ```
#[derive(Debug)]
pub struct MessageCodec {
    network: Network,
    decoder: FrameDecoder,
}

/// Why a stream of frames ends.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The peer sent a bad header.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CodecError {
    /// Whether the same peer may be tried again soon, with backoff: after a transport that was
    /// refused, timed out or was reset.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Frame(_) => false,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::ConnectionReset
            ),
        }
    }

    /// Whether the peer's IP is to be banned: never for what is seen here. A bad header is worth a
    /// ban before the handshake is complete, of which a codec knows nothing; after it, framing is
    /// lost, and that is all.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

/// The longest block that is gathered whole unless somebody says otherwise: what the memory of a
/// small machine holds.
const MAX_BLOCK: u64 = 64 * 1024 * 1024;

impl MessageCodec {
    /// For a network, with blocks and transactions of up to 64 MiB.
    pub fn new(network: Network) -> Self {
        let limits = Limits {
            block: MAX_BLOCK,
            ..Limits::DEFAULT
        };
        Self::with_limits(network, limits)
    }

    /// For a network, with these limits.
    pub fn with_limits(network: Network, limits: Limits) -> Self {
        Self {
            network,
            decoder: FrameDecoder::new(network, limits),
        }
    }
}

impl Decoder for MessageCodec {
    type Item = Result<Message, Discarded>;
    type Error = CodecError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Self::Item>, CodecError> {
        Ok(match self.decoder.decode(bytes)? {
            None => None,
            Some(Decoded::Frame { command, body }) => {
                let length = body.as_bytes().len() as u64;
                let message = body.decode(command);
                Some(message.map_err(|why| {
                    Discarded::new(Some(command), length, DiscardReason::Payload(why))
                }))
            }
            Some(Decoded::Dropped {
                command,
                length,
                why,
            }) => {
                let why = DiscardReason::Frame(why);
                Some(Err(Discarded::new(command, length, why)))
            }
            // The decoder gathers every payload whole.
            Some(Decoded::Payload(_)) => None,
        })
    }
}

impl Encoder<Message> for MessageCodec {
    type Error = CodecError;

    fn encode(&mut self, message: Message, out: &mut BytesMut) -> Result<(), CodecError> {
        encode_frame(self.network, &message, out);
        Ok(())
    }
}

impl Encoder<&EncodedMessage> for MessageCodec {
    type Error = CodecError;

    fn encode(&mut self, message: &EncodedMessage, out: &mut BytesMut) -> Result<(), CodecError> {
        out.reserve(message.len());
        message.encode(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_failed_may_work_later_and_a_bad_header_stays_bad() {
        let mut codec = MessageCodec::new(Network::Regtest);
        let bad = codec.decode(&mut BytesMut::from(&b"GET / HTTP/1.1"[..]));
        let io = |kind: io::ErrorKind| CodecError::from(io::Error::from(kind));
        for (error, retryable) in [
            (bad.unwrap_err(), false),
            (io(io::ErrorKind::ConnectionRefused), true),
            (io(io::ErrorKind::TimedOut), true),
            (io(io::ErrorKind::ConnectionReset), true),
            (io(io::ErrorKind::PermissionDenied), false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(!error.is_ban_worthy(), "{error}");
        }
    }
}
