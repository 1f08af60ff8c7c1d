//! Records in rows.

use p2p_core::Peer;
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::{failed, refused};
use crate::error::StoreError;
use crate::record;

/// A row of `id, record::text`: whose it is, and the record, if it can be read.
pub(super) fn decode(row: &Row) -> Result<(Uuid, Result<Peer, StoreError>), StoreError> {
    let id: Uuid = row.try_get(0).map_err(failed)?;
    let json: &str = row.try_get(1).map_err(failed)?;
    let peer = serde_json::from_str(json).map_err(|error| StoreError::Corrupt {
        place: format!("record {id}"),
        what: error.to_string(),
    });
    let settled = peer.map(|mut peer: Peer| {
        record::settle(&mut peer, record::now());
        peer.ip_address = peer.ip_address.to_canonical();
        peer
    });
    Ok((id, settled))
}

/// A record, or several, as text for a parameter.
pub(super) fn encode(records: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(records).map_err(|error| refused(error.to_string()))
}

/// The status as it stands in records.
pub(super) const fn status(status: p2p_core::PeerStatus) -> &'static str {
    match status {
        p2p_core::PeerStatus::Valid => "Valid",
        p2p_core::PeerStatus::Inaccessible => "Inaccessible",
        p2p_core::PeerStatus::Banned => "Banned",
        p2p_core::PeerStatus::Unknown => "Unknown",
    }
}
