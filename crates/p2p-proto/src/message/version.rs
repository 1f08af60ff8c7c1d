//! `version`: the first message of either side.
//!
//! Source: the node's `src/net/net_processing.cpp` (`PushNodeVersion`, `ProcessVersionMessage`).

use bytes::{BufMut, Bytes, BytesMut};

use super::stream::MAX_ASSOCIATION_ID;
use super::{NetworkAddress, Payload, Services};
use crate::codec::{Reader, WriteExt, var_bytes_len};
use crate::error::DecodeError;
use crate::text::{MAX_USER_AGENT, UserAgent};

/// Up to which field a `version` goes: everything after `addr_recv` may be left out, from the end.
///
/// Each value includes the ones before it. `addr_from` and the nonce come together.
///
/// ```
/// use p2p_proto::VersionFields;
///
/// assert!(VersionFields::AssociationId > VersionFields::Relay);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum VersionFields {
    /// Version, services, time and `addr_recv`: 46 bytes.
    Receiver,
    /// `addr_from` and nonce.
    Sender,
    /// User agent.
    UserAgent,
    /// Start height.
    StartHeight,
    /// Relay.
    Relay,
    /// Association id: all there is.
    AssociationId,
}

/// `version`: who is there, and what it speaks.
///
/// A field that [`fields`](Self::fields) does not reach holds what the node takes in its place:
/// nonce 1, an empty agent, height -1, relay true. It is not sent.
///
/// ```
/// use p2p_proto::{NetworkAddress, Version, VersionFields};
///
/// let version = Version::minimal(70016, 1_700_000_000, NetworkAddress::UNSPECIFIED);
/// assert_eq!(version.fields, VersionFields::Receiver);
/// assert_eq!(version.start_height, -1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The protocol version: 70016 for all of today's.
    pub version: i32,
    /// What the sender offers.
    pub services: Services,
    /// The sender's clock, Unix time in seconds.
    pub timestamp: i64,
    /// The receiver, as the sender sees it.
    pub addr_recv: NetworkAddress,
    /// The sender, as it sees itself; the node writes zeros.
    pub addr_from: NetworkAddress,
    /// Random, to notice a connection to oneself.
    pub nonce: u64,
    /// The sender's software.
    pub user_agent: UserAgent,
    /// The sender's best block.
    pub start_height: i32,
    /// Whether transactions should be announced.
    pub relay: bool,
    /// The association id, at most 129 bytes; empty means "knows streams, has them off".
    pub association_id: Bytes,
    /// Up to which field the message goes.
    pub fields: VersionFields,
}

impl Version {
    /// The shortest `version`, with defaults for all that it leaves out.
    pub fn minimal(version: i32, timestamp: i64, addr_recv: NetworkAddress) -> Self {
        Self {
            version,
            services: Services::NONE,
            timestamp,
            addr_recv,
            addr_from: NetworkAddress::UNSPECIFIED,
            nonce: 1,
            user_agent: UserAgent::default(),
            start_height: -1,
            relay: true,
            association_id: Bytes::new(),
            fields: VersionFields::Receiver,
        }
    }

    fn has(&self, field: VersionFields) -> bool {
        self.fields >= field
    }
}

impl Payload for Version {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.i32("version")?;
        let services = Services(reader.u64("services")?);
        let timestamp = reader.i64("timestamp")?;
        let addr_recv = NetworkAddress::read(reader, "addr_recv")?;
        let mut version = Self {
            services,
            ..Self::minimal(number, timestamp, addr_recv)
        };
        if reader.is_empty() {
            return Ok(version);
        }
        version.addr_from = NetworkAddress::read(reader, "addr_from")?;
        version.nonce = reader.u64("nonce")?;
        version.fields = VersionFields::Sender;
        if reader.is_empty() {
            return Ok(version);
        }
        let agent = reader.var_bytes(MAX_USER_AGENT, "user agent")?;
        version.user_agent = UserAgent::new(agent).unwrap_or_default();
        version.fields = VersionFields::UserAgent;
        if reader.is_empty() {
            return Ok(version);
        }
        version.start_height = reader.i32("start height")?;
        version.fields = VersionFields::StartHeight;
        if reader.is_empty() {
            return Ok(version);
        }
        version.relay = reader.bool("relay")?;
        version.fields = VersionFields::Relay;
        if reader.is_empty() {
            return Ok(version);
        }
        version.association_id = reader.var_bytes(MAX_ASSOCIATION_ID, "association id")?;
        version.fields = VersionFields::AssociationId;
        Ok(version)
    }

    fn encoded_len(&self) -> usize {
        let mut len = 4 + 8 + 8 + NetworkAddress::LEN;
        for (field, size) in [
            (VersionFields::Sender, NetworkAddress::LEN + 8),
            (
                VersionFields::UserAgent,
                var_bytes_len(self.user_agent.as_bytes()),
            ),
            (VersionFields::StartHeight, 4),
            (VersionFields::Relay, 1),
            (
                VersionFields::AssociationId,
                var_bytes_len(&self.association_id),
            ),
        ] {
            if self.has(field) {
                len += size;
            }
        }
        len
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32_le(self.version);
        out.put_u64_le(self.services.0);
        out.put_i64_le(self.timestamp);
        self.addr_recv.write(out);
        if self.has(VersionFields::Sender) {
            self.addr_from.write(out);
            out.put_u64_le(self.nonce);
        }
        if self.has(VersionFields::UserAgent) {
            out.put_var_bytes(self.user_agent.as_bytes());
        }
        if self.has(VersionFields::StartHeight) {
            out.put_i32_le(self.start_height);
        }
        if self.has(VersionFields::Relay) {
            out.put_bool(self.relay);
        }
        if self.has(VersionFields::AssociationId) {
            out.put_var_bytes(&self.association_id);
        }
    }
}
