//! Events and messages as JSON objects, one a line.

use p2p_proto::{InventoryKind, Message, escaped};
use p2p_tokio::{BitcoinMessageEvent, ControlEvent, Event};
use serde_json::{Map, Value, json};

use crate::report::source_name;

/// The object for an event, without its time.
pub fn event(event: &Event) -> Value {
    match event {
        Event::Control(event) => control(event),
        Event::Message(event) => message(event),
        Event::Skipped(skipped) => json!({
            "message": skipped.command.to_string(), "peer_id": skipped.peer_id,
            "address": skipped.address, "length": skipped.length, "skipped": true,
        }),
        other => json!({ "event": format!("{other:?}") }),
    }
}

fn control(event: &ControlEvent) -> Value {
    match event {
        ControlEvent::ConnectionEstablished {
            peer_id,
            address,
            is_inbound,
        } => json!({
            "event": "ConnectionEstablished", "peer_id": peer_id, "address": address,
            "is_inbound": is_inbound,
        }),
        ControlEvent::ConnectionFailed {
            peer_id,
            address,
            reason,
        } => json!({
            "event": "ConnectionFailed", "peer_id": peer_id, "address": address,
            "reason": reason.to_string(),
        }),
        ControlEvent::ConnectionLost {
            peer_id,
            address,
            reason,
            initiator,
        } => json!({
            "event": "ConnectionLost", "peer_id": peer_id, "address": address,
            "reason": reason.to_string(), "initiator": initiator,
        }),
        ControlEvent::ConnectionRestarting {
            peer_id,
            address,
            reason,
            attempt,
        } => json!({
            "event": "ConnectionRestarting", "peer_id": peer_id, "address": address,
            "reason": reason.to_string(), "attempt": attempt,
        }),
        ControlEvent::HandshakeComplete {
            peer_id,
            address,
            user_agent,
            version,
            services,
            height,
        } => json!({
            "event": "HandshakeComplete", "peer_id": peer_id, "address": address,
            "user_agent": user_agent.to_string(), "version": version,
            "services": services.0, "height": height,
        }),
        ControlEvent::PeerMisbehavior {
            peer_id,
            address,
            reason,
        } => json!({
            "event": "PeerMisbehavior", "peer_id": peer_id, "address": address,
            "reason": reason.to_string(),
        }),
        ControlEvent::PeerBanned { ip, reason, until } => json!({
            "event": "PeerBanned", "ip": ip, "reason": reason,
            "until": until.map(|until| until.to_string()),
        }),
        ControlEvent::PeerUnbanned { ip } => json!({ "event": "PeerUnbanned", "ip": ip }),
        ControlEvent::InboundConnectionRejected { address, reason } => json!({
            "event": "InboundConnectionRejected", "address": address,
            "reason": reason.to_string(),
        }),
        ControlEvent::ConnectionRejectedCapacity { peer_id, address } => json!({
            "event": "ConnectionRejectedCapacity", "peer_id": peer_id, "address": address,
        }),
        ControlEvent::InboundConnectionAccepted { peer_id, address } => json!({
            "event": "InboundConnectionAccepted", "peer_id": peer_id, "address": address,
        }),
        ControlEvent::ListenerStarted { address } => {
            json!({ "event": "ListenerStarted", "address": address })
        }
        ControlEvent::ListenerBindFailed { address, error } => {
            json!({ "event": "ListenerBindFailed", "address": address, "error": error })
        }
        ControlEvent::PeersDiscovered { source, count } => {
            let source = source_name(*source);
            json!({ "event": "PeersDiscovered", "source": source, "count": count })
        }
        ControlEvent::StoreFailed { error } => json!({ "event": "StoreFailed", "error": error }),
        ControlEvent::ConfigUpdated => json!({ "event": "ConfigUpdated" }),
        ControlEvent::ShuttingDown => json!({ "event": "ShuttingDown" }),
        other => json!({ "event": format!("{other:?}") }),
    }
}

fn message(event: &BitcoinMessageEvent) -> Value {
    let mut object = Map::new();
    object.insert("message".into(), event.message.command().to_string().into());
    object.insert("peer_id".into(), json!(event.peer_id));
    object.insert("address".into(), json!(event.address));
    if let Value::Object(fields) = fields(&event.message) {
        object.extend(fields);
    }
    Value::Object(object)
}

fn fields(message: &Message) -> Value {
    match message {
        Message::Version(version) => json!({
            "version": version.version, "services": version.services.0,
            "user_agent": version.user_agent.to_string(), "height": version.start_height,
        }),
        Message::Ping(nonce) | Message::Pong(nonce) => json!({ "nonce": nonce.to_string() }),
        Message::Addr(addr) => json!({
            "count": addr.len(),
            "addresses": addr.iter().map(|entry| json!({
                "time": entry.time, "services": entry.address.services.0,
                "ip": entry.address.ip, "port": entry.address.port,
            })).collect::<Vec<_>>(),
        }),
        Message::Inv(list) | Message::GetData(list) | Message::NotFound(list) => json!({
            "count": list.len(),
            "items": list.iter().map(|item| json!({
                "type": kind(item.kind), "hash": item.hash.to_string(),
            })).collect::<Vec<_>>(),
        }),
        Message::Headers(headers) => json!({
            "count": headers.len(),
            "hashes": headers.iter().map(|header| header.hash().to_string()).collect::<Vec<_>>(),
        }),
        Message::GetHeaders(locator)
        | Message::GetBlocks(locator)
        | Message::GetHdrsEn(locator) => json!({
            "version": locator.version(),
            "locator": locator.hashes().map(|hash| hash.to_string()).collect::<Vec<_>>(),
            "stop": locator.stop().to_string(),
        }),
        Message::Tx(tx) => json!({
            "txid": tx.txid().to_string(), "size": tx.len(),
            "inputs": tx.input_count(), "outputs": tx.output_count(),
        }),
        Message::Block(block) => json!({
            "hash": block.hash().to_string(), "previous": block.header().prev.to_string(),
            "size": block.as_bytes().len(), "transactions": block.tx_count(),
        }),
        Message::Reject(reject) => json!({
            "rejected": escaped(reject.command()).to_string(), "code": reject.code().0,
            "reason": escaped(reject.reason()).to_string(),
            "hash": reject.hash().map(|hash| hash.to_string()),
        }),
        Message::Protoconf(protoconf) => json!({
            "max_payload": protoconf.max_payload(),
            "stream_policies": protoconf.stream_policies().map(|text| escaped(text).to_string()),
        }),
        Message::SendCmpct(send) => json!({ "announce": send.announce, "version": send.version }),
        Message::FeeFilter(filter) => json!({ "satoshi_per_kb": filter.satoshi_per_kb }),
        other => json!({ "size": other.payload_len() }),
    }
}

fn kind(kind: InventoryKind) -> Value {
    match kind {
        InventoryKind::Tx => "tx".into(),
        InventoryKind::Block => "block".into(),
        InventoryKind::FilteredBlock => "filtered_block".into(),
        InventoryKind::CompactBlock => "compact_block".into(),
        InventoryKind::DatarefTx => "dataref_tx".into(),
        other => u32::from(other).into(),
    }
}
