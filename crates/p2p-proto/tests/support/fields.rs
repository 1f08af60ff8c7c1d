//! A message as the JSON object in which the vectors list its fields.

use p2p_proto::{
    Addr, Block, BlockHeader, BlockLocator, BlockTxn, CmpctBlock, DatarefTx, DsDetected,
    EnrichedHeaders, Hash256, Headers, Inventory, Mempool, MerkleProof, Message, NetworkAddress,
    Nonce, ProofSubject, ProofTarget, Protoconf, Reject, RevokeMid, ShortIdKeys, Version,
    VersionFields,
};
use serde_json::{Map, Value, json};

use super::vectors::hex;

/// Every field of a message. Panics for one that no vector has: it would go unchecked.
pub(crate) fn describe(message: &Message) -> Value {
    let fields = match message {
        Message::Verack
        | Message::SendHeaders
        | Message::SendHdrsEn
        | Message::GetAddr
        | Message::FilterClear => json!({}),
        Message::Version(version) => version_fields(version),
        Message::Protoconf(protoconf) => protoconf_fields(protoconf),
        Message::Ping(nonce) | Message::Pong(nonce) => nonce_fields(*nonce),
        Message::Inv(list) | Message::GetData(list) | Message::NotFound(list) => inventory(list),
        Message::Addr(addr) => addresses(addr),
        Message::GetHeaders(locator)
        | Message::GetBlocks(locator)
        | Message::GetHdrsEn(locator) => locator_fields(locator),
        Message::Headers(headers) => headers_fields(headers),
        Message::HdrsEn(headers) => enriched_headers(headers),
        Message::Tx(tx) => json!({ "txid": tx.txid().to_string() }),
        Message::Block(block) => block_fields(block),
        Message::MerkleBlock(block) => json!({
            "header_hash": block.header().hash().to_string(),
            "total_transactions": block.total(),
            "hashes": texts(block.hashes()),
            "flag_bytes_hex": hex(block.flags()),
        }),
        Message::CmpctBlock(block) => compact_block(block),
        Message::GetBlockTxn(request) => json!({
            "block_hash": request.block_hash().to_string(),
            "indexes": request.indexes().collect::<Vec<_>>(),
        }),
        Message::BlockTxn(answer) => block_txn(answer),
        Message::DatarefTx(message) => dataref_tx(message),
        Message::DsDetected(message) => ds_detected(message),
        Message::SendCmpct(message) => json!({
            "announce": message.announce,
            "version": message.version,
        }),
        Message::FeeFilter(filter) => json!({ "fee_rate_sat_per_kb": filter.satoshi_per_kb }),
        Message::Mempool(request) => mempool(request),
        Message::FilterLoad(filter) => json!({
            "filter_hex": hex(filter.filter()),
            "n_hash_funcs": filter.hash_functions(),
            "tweak": filter.tweak(),
            "flags": filter.flags(),
        }),
        Message::FilterAdd(element) => json!({ "data_hex": hex(element.element()) }),
        Message::Reject(reject) => reject_fields(reject),
        Message::CreateStream(request) => json!({
            "association_id_hex": hex(request.association_id()),
            "stream_type": request.stream_type(),
            "stream_policy": text(request.policy()),
        }),
        Message::StreamAck(answer) => json!({
            "association_id_hex": hex(answer.association_id()),
            "stream_type": answer.stream_type(),
        }),
        Message::AuthChallenge(challenge) => json!({
            "version": challenge.version,
            "challenge_length": challenge.challenge.len(),
            "challenge_hex_wire": hex(&challenge.challenge),
        }),
        Message::AuthResponse(answer) => json!({
            "public_key_hex": hex(answer.public_key()),
            "client_nonce": answer.nonce(),
            "signature_der_hex": hex(answer.signature()),
        }),
        Message::RevokeMid(message) => revoke_mid(message),
        other => panic!("no vector describes {other:?}"),
    };
    let mut fields = match fields {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    };
    fields.insert("command".into(), message.command().as_str().into());
    Value::Object(fields)
}

fn version_fields(version: &Version) -> Value {
    let mut fields = object(json!({
        "version": version.version,
        "services": version.services.0,
        "timestamp": version.timestamp,
        "addr_recv": address(&version.addr_recv),
    }));
    let mut put = |reached, name: &str, value: Value| {
        // What is not sent is described as absent, not by its default.
        let value = if version.fields >= reached {
            value
        } else {
            Value::Null
        };
        fields.insert(name.into(), value);
    };
    put(
        VersionFields::Sender,
        "addr_from",
        address(&version.addr_from),
    );
    put(VersionFields::Sender, "nonce", version.nonce.into());
    put(
        VersionFields::Sender,
        "nonce_hex",
        format!("{:016x}", version.nonce).into(),
    );
    let agent = text(version.user_agent.as_bytes());
    put(VersionFields::UserAgent, "user_agent", agent.into());
    put(
        VersionFields::StartHeight,
        "start_height",
        version.start_height.into(),
    );
    put(VersionFields::Relay, "relay", version.relay.into());
    let association = hex(&version.association_id);
    put(
        VersionFields::AssociationId,
        "association_id_hex",
        association.into(),
    );
    Value::Object(fields)
}

fn address(address: &NetworkAddress) -> Value {
    json!({
        "services": address.services.0,
        "ip": address.ip.to_string(),
        "port": address.port,
    })
}

fn protoconf_fields(protoconf: &Protoconf) -> Value {
    let payload = Message::Protoconf(Box::new(protoconf.clone())).payload();
    let policies = protoconf.stream_policies();
    // Number of fields and limit; a length byte before the policies.
    let known = 5 + policies.map_or(0, |policies| 1 + policies.len());
    json!({
        "number_of_fields": protoconf.fields(),
        "max_recv_payload_length": protoconf.max_payload(),
        "stream_policies": policies.map(text),
        "unknown_tail_hex": hex(&payload[known..]),
    })
}

fn nonce_fields(nonce: Nonce) -> Value {
    json!({ "nonce": nonce.0, "nonce_hex": nonce.to_string() })
}

fn inventory(list: &Inventory) -> Value {
    let items = list
        .iter()
        .map(|item| json!({ "type": u32::from(item.kind), "hash": item.hash.to_string() }));
    json!({ "count": list.len(), "items": items.collect::<Value>() })
}

fn addresses(addr: &Addr) -> Value {
    let entries = addr.iter().map(|entry| {
        let mut fields = object(address(&entry.address));
        fields.insert("time".into(), entry.time.into());
        fields
    });
    json!({ "count": addr.len(), "addresses": entries.collect::<Vec<_>>() })
}

fn locator_fields(locator: &BlockLocator) -> Value {
    json!({
        "version": locator.version(),
        "locator": locator.hashes().map(|hash| hash.to_string()).collect::<Vec<_>>(),
        "stop": locator.stop().to_string(),
    })
}

fn header(header: &BlockHeader) -> Value {
    json!({
        "version": header.version,
        "prev": header.prev.to_string(),
        "merkle_root": header.merkle_root.to_string(),
        "time": header.time,
        "bits": format!("{:08x}", header.bits),
        "nonce": header.nonce,
        "hash": header.hash().to_string(),
    })
}

fn headers_fields(headers: &Headers) -> Value {
    let list: Vec<_> = headers.iter().map(|each| header(&each)).collect();
    json!({ "count": headers.len(), "headers": list })
}

/// The vectors have one header each, whose fields stand beside the count.
fn enriched_headers(headers: &EnrichedHeaders) -> Value {
    let first = headers.iter().next().unwrap().unwrap();
    let coinbase = first.coinbase.as_ref().map(|(tx, _)| tx.txid().to_string());
    let proof = first
        .coinbase
        .as_ref()
        .map(|(_, proof)| merkle_proof(proof));
    json!({
        "count": headers.len(),
        "block_hash": first.header.hash().to_string(),
        "n_tx": first.tx_count,
        "no_more_headers": first.no_more_headers,
        "has_coinbase": first.coinbase.is_some(),
        "coinbase_txid": coinbase,
        "proof": proof,
        "has_miner_info": first.miner_info.is_some(),
    })
}

fn merkle_proof(proof: &MerkleProof) -> Value {
    let (ProofTarget::BlockHash(target) | ProofTarget::MerkleRoot(target)) = proof.target else {
        panic!("{:?}", proof.target)
    };
    json!({
        "flags": proof_flags(proof),
        "index": proof.index,
        "target": target.to_string(),
        "nodes": texts(proof.nodes.iter().copied()),
    })
}

/// The first byte of a proof: bit 0 for a whole transaction, bit 2 for a merkle root.
fn proof_flags(proof: &MerkleProof) -> u8 {
    let whole = matches!(proof.subject, ProofSubject::Tx(_));
    let root = matches!(proof.target, ProofTarget::MerkleRoot(_));
    u8::from(whole) | u8::from(root) << 2
}

fn block_fields(block: &Block) -> Value {
    json!({
        "hash": block.hash().to_string(),
        "tx_count": block.tx_count(),
        "txids": block.txs().map(|tx| tx.unwrap().txid().to_string()).collect::<Vec<_>>(),
    })
}

fn compact_block(block: &CmpctBlock) -> Value {
    let ShortIdKeys { k0, k1 } = block.short_id_keys();
    let prefilled = block.prefilled().map(|prefilled| {
        let prefilled = prefilled.unwrap();
        json!({ "index": prefilled.index, "txid": prefilled.tx.txid().to_string() })
    });
    json!({
        "header_hash": block.header().hash().to_string(),
        "nonce": block.nonce(),
        "siphash_k0": format!("{k0:016x}"),
        "siphash_k1": format!("{k1:016x}"),
        "short_ids": block.short_ids().map(|id| id.to_string()).collect::<Vec<_>>(),
        "prefilled": prefilled.collect::<Value>(),
    })
}

fn block_txn(answer: &BlockTxn) -> Value {
    json!({
        "block_hash": answer.block_hash().to_string(),
        "txids": answer.txs().map(|tx| tx.unwrap().txid().to_string()).collect::<Vec<_>>(),
    })
}

fn dataref_tx(message: &DatarefTx) -> Value {
    json!({
        "txid": message.tx().txid().to_string(),
        "proof": merkle_proof(&message.proof().unwrap()),
    })
}

fn ds_detected(message: &DsDetected) -> Value {
    let blocks = message.blocks().map(|block| {
        let proof = &block.proof;
        let tx_length = match &proof.subject {
            ProofSubject::Tx(tx) => Some(tx.len()),
            _ => None,
        };
        json!({
            "headers": block.headers.len(),
            "proof": {
                "flags": proof_flags(proof),
                "index": proof.index,
                "tx_length": tx_length,
                "nodes": proof.nodes.len(),
            },
        })
    });
    json!({
        "version": message.version(),
        "block_count": message.len(),
        "blocks": blocks.collect::<Value>(),
    })
}

fn mempool(request: &Mempool) -> Value {
    match request {
        Mempool::All => json!({}),
        Mempool::Recent { age } => json!({ "has_age": age.is_some(), "age_seconds": age }),
    }
}

fn reject_fields(reject: &Reject) -> Value {
    json!({
        "message": text(reject.command()),
        "code": reject.code().0,
        "reason": text(reject.reason()),
        "hash": reject.hash().map(|hash| hash.to_string()),
    })
}

fn revoke_mid(message: &RevokeMid) -> Value {
    json!({
        "version": message.version,
        "revocation_key_hex": hex(&message.revocation_key),
        "miner_id_hex": hex(&message.miner_id),
        "revoked_id_hex": hex(&message.revoked_id),
        "sig1_hex": hex(&message.revocation_signature),
        "sig2_hex": hex(&message.miner_signature),
    })
}

fn texts(hashes: impl Iterator<Item = Hash256>) -> Vec<String> {
    hashes.map(|hash| hash.to_string()).collect()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}
