//! Every message: decoding, encoding, and every view walked to its end.

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Addr, Block, BlockHeader, BlockLocator, BlockTxn, CmpctBlock, Command, DatarefTx, Decoded,
    DsDetected, EncodedMessage, EnrichedHeaders, FrameDecoder, GetBlockTxn, Headers, Inventory,
    Limits, MerkleBlock, MerkleProof, Message, Network, Tx, encode_frame,
};

use super::input::Input;

/// Longer than any honest message needs: what a peer sends must not flood a log.
pub(super) const LONGEST_DEBUG: usize = 4096;

/// A payload that decodes is encoded to one that decodes to the same.
///
/// Input: one byte that chooses the command, then the payload.
pub fn message(data: &[u8]) {
    let mut input = Input::new(data);
    let command = choose_command(input.u8());
    let payload = input.rest();
    let message = Message::decode(command, payload);
    let shared = Message::decode_shared(command, &Bytes::copy_from_slice(payload));
    assert_eq!(message, shared);
    let message = match message {
        Ok(message) => message,
        Err(error) => {
            assert!(error.to_string().len() < 200);
            return;
        }
    };
    assert_eq!(message.command(), command);
    walk(&message);
    let text = format!("{message:?}");
    assert!(text.len() <= LONGEST_DEBUG, "{} of {text:.200}", text.len());

    let encoded = message.payload();
    assert_eq!(encoded.len(), message.payload_len());
    assert!(encoded.len() <= payload.len(), "grew");
    let again = Message::decode_shared(command, &encoded).unwrap();
    assert_eq!(again, message);
    assert_eq!(again.payload(), encoded);
    frame_and_back(&message);
}

/// A command of the protocol, or one that is not.
pub(super) fn choose_command(byte: u8) -> Command {
    let unknown = Command::new("whatever").unwrap();
    Command::KNOWN
        .get(usize::from(byte))
        .copied()
        .unwrap_or(unknown)
}

fn frame_and_back(message: &Message) {
    let network = Network::Regtest;
    let mut wire = BytesMut::new();
    encode_frame(network, message, &mut wire);
    let mut encoded_once = BytesMut::new();
    let frame = EncodedMessage::new(network, message);
    frame.encode(&mut encoded_once);
    assert_eq!(wire, encoded_once);
    assert_eq!(frame.len(), wire.len());
    let limits = Limits {
        message: u64::MAX,
        block: u64::MAX,
    };
    let mut decoder = FrameDecoder::new(network, limits);
    let Ok(Some(Decoded::Frame { command, body })) = decoder.decode(&mut wire) else {
        panic!("our own frame does not decode")
    };
    assert_eq!(body.decode(command).as_ref(), Ok(message));
    assert!(wire.is_empty());
}

fn walk(message: &Message) {
    match message {
        Message::Inv(inventory) | Message::GetData(inventory) | Message::NotFound(inventory) => {
            assert_eq!(inventory.iter().count(), inventory.len());
            assert_eq!(inventory.is_empty(), inventory.iter().next().is_none());
            assert_eq!(&Inventory::new(inventory.iter()), inventory);
        }
        Message::Tx(tx) => walk_tx(tx),
        Message::Block(block) => walk_block(block),
        Message::Headers(headers) => walk_headers(headers),
        Message::GetHeaders(locator)
        | Message::GetBlocks(locator)
        | Message::GetHdrsEn(locator) => {
            let hashes: Vec<_> = locator.hashes().collect();
            let again = BlockLocator::new(locator.version(), hashes, locator.stop());
            assert_eq!(&again, locator);
        }
        Message::HdrsEn(headers) => walk_enriched(headers),
        Message::Addr(addr) => {
            assert_eq!(addr.iter().count(), addr.len());
            assert!(addr.iter().all(|entry| {
                let address = entry.address.socket_addr();
                address.ip().to_canonical() == address.ip()
            }));
            assert_eq!(Addr::new(addr.iter()).as_ref(), Ok(addr));
        }
        Message::Version(version) => {
            assert!(version.user_agent.to_string().is_ascii());
            assert!(version.association_id.len() <= p2p_proto::MAX_ASSOCIATION_ID);
        }
        Message::Protoconf(protoconf) => {
            assert!(protoconf.fields() > 0);
            assert!(protoconf.max_payload() >= p2p_proto::MIN_ANNOUNCED_PAYLOAD);
            assert_eq!(
                protoconf.stream_policies().is_some(),
                protoconf.fields() > 1
            );
        }
        Message::CreateStream(stream) => {
            assert!(stream.association_id().len() <= p2p_proto::MAX_ASSOCIATION_ID);
            assert!(stream.policy().len() <= 64);
            let _ = stream.stream_type();
        }
        Message::StreamAck(ack) => {
            assert!(ack.association_id().len() <= p2p_proto::MAX_ASSOCIATION_ID);
            let _ = ack.stream_type();
        }
        Message::AuthResponse(response) => {
            assert_eq!(response.public_key().len(), 33);
            assert!(response.signature().len() <= 72);
            let _ = response.nonce();
        }
        Message::MerkleBlock(block) => {
            walk_header(&block.header());
            let tree: p2p_proto::MerkleTree = block.hashes().collect();
            assert_eq!(tree.len(), block.hashes().len() as u64);
            assert_eq!(tree.root().is_some(), !tree.is_empty());
            let (header, total) = (block.header(), block.total());
            let again = MerkleBlock::new(header, total, block.hashes(), block.flags());
            assert_eq!(&again, &**block);
        }
        Message::CmpctBlock(block) => walk_compact(block),
        Message::GetBlockTxn(request) => {
            assert!(request.indexes().is_sorted_by(|a, b| a < b));
            assert_eq!(request.indexes().count(), request.len());
            assert_eq!(request.is_empty(), request.indexes().next().is_none());
            let again = GetBlockTxn::new(request.block_hash(), request.indexes());
            assert_eq!(again.as_ref(), Ok(request));
        }
        Message::BlockTxn(answer) => {
            let txs: Result<Vec<_>, _> = answer.txs().collect();
            if let Ok(txs) = txs {
                assert_eq!(txs.len() as u64, answer.tx_count());
                txs.iter().for_each(walk_tx);
                let again = BlockTxn::new(answer.block_hash(), &txs);
                assert_eq!(again.tx_count(), answer.tx_count());
                assert!(again.txs().eq(answer.txs()));
            }
        }
        Message::DatarefTx(dataref) => {
            walk_tx(dataref.tx());
            let proof = dataref.proof().expect("it was scanned");
            walk_proof(&proof);
            assert_eq!(&DatarefTx::new(dataref.tx(), &proof), &**dataref);
        }
        Message::FilterLoad(filter) => {
            assert!(filter.filter().len() <= p2p_proto::MAX_FILTER);
            let _ = (filter.hash_functions(), filter.tweak(), filter.flags());
        }
        Message::FilterAdd(add) => assert!(add.element().len() <= p2p_proto::MAX_FILTER_ELEMENT),
        Message::Reject(reject) => {
            assert!(reject.command().len() <= 12 && reject.reason().len() <= 111);
            assert!(reject.to_string().is_ascii());
            let _ = (reject.code(), reject.hash());
        }
        Message::DsDetected(detected) => {
            let blocks: Vec<_> = detected.blocks().collect();
            assert_eq!(blocks.len(), detected.len());
            assert_eq!(blocks.is_empty(), detected.is_empty());
            for block in &blocks {
                block.headers.iter().for_each(walk_header);
                walk_proof(&block.proof);
            }
            assert_eq!(&DsDetected::new(detected.version(), &blocks), detected);
        }
        Message::RevokeMid(revoke) => {
            assert!(revoke.revocation_signature.len() <= 72);
            assert!(revoke.miner_signature.len() <= 72);
        }
        Message::Verack
        | Message::SendHeaders
        | Message::SendHdrsEn
        | Message::GetAddr
        | Message::FilterClear => assert_eq!(message.payload_len(), 0),
        Message::Ping(_)
        | Message::Pong(_)
        | Message::AuthChallenge(_)
        | Message::SendCmpct(_)
        | Message::FeeFilter(_)
        | Message::Mempool(_)
        | Message::Unknown { .. } => {}
        _ => unreachable!("a message without a walk: {message:?}"),
    }
}

fn walk_header(header: &BlockHeader) {
    assert_eq!(BlockHeader::from_bytes(&header.to_bytes()), *header);
    let hash = header.hash();
    assert_eq!(hash.to_string().parse(), Ok(hash));
}

pub(super) fn walk_tx(tx: &Tx) {
    let inputs: Vec<_> = tx.inputs().collect();
    let outputs: Vec<_> = tx.outputs().collect();
    assert_eq!(
        (inputs.len(), outputs.len()),
        (tx.input_count(), tx.output_count())
    );
    let again = Tx::new(tx.version(), &inputs, &outputs, tx.lock_time());
    assert_eq!(again.as_ref(), Ok(tx));
    assert_eq!(Tx::parse(tx.as_bytes().clone()).as_ref(), Ok(tx));
    assert_eq!(tx.as_bytes().len(), tx.len());
    assert_eq!(tx.txid(), p2p_proto::Hash256::of(tx.as_bytes()));
    assert!(format!("{tx:?}").len() < 300);
}

fn walk_block(block: &Block) {
    walk_header(&block.header());
    assert_eq!(block.hash(), block.header().hash());
    let txs: Result<Vec<_>, _> = block.txs().collect();
    let tree = block.merkle_tree();
    assert_eq!(txs.is_ok(), tree.is_ok());
    assert!(block.txs().count() as u64 <= block.tx_count());
    let (Ok(txs), Ok(tree)) = (txs, tree) else {
        return;
    };
    assert_eq!(
        (txs.len() as u64, tree.len()),
        (block.tx_count(), block.tx_count())
    );
    txs.iter().for_each(walk_tx);
    let again = Block::new(block.header(), &txs);
    assert!(block.as_bytes().starts_with(again.as_bytes()));
    assert_eq!(Block::parse(block.as_bytes().clone()).as_ref(), Ok(block));
}

fn walk_headers(headers: &Headers) {
    assert_eq!(headers.iter().count(), headers.len());
    assert_eq!(headers.is_empty(), headers.iter().next().is_none());
    headers.iter().for_each(|header| walk_header(&header));
    let again = Headers::new(headers.iter()).unwrap();
    assert!(again.iter().eq(headers.iter()));
}

fn walk_enriched(headers: &EnrichedHeaders) {
    let all: Result<Vec<_>, _> = headers.iter().collect();
    assert!(headers.iter().count() <= headers.len());
    assert_eq!(headers.is_empty(), headers.iter().next().is_none());
    let Ok(all) = all else {
        return;
    };
    assert_eq!(all.len(), headers.len());
    for header in &all {
        walk_header(&header.header);
        for (tx, proof) in [&header.coinbase, &header.miner_info].into_iter().flatten() {
            walk_tx(tx);
            walk_proof(proof);
        }
    }
    assert!(EnrichedHeaders::new(&all).iter().eq(headers.iter()));
}

fn walk_proof(proof: &MerkleProof) {
    let (root, txid) = (proof.merkle_root(), proof.txid());
    if proof.nodes.is_empty() {
        assert_eq!(root, (proof.index == 0).then_some(txid));
    }
    if let p2p_proto::ProofSubject::Tx(tx) = &proof.subject {
        walk_tx(tx);
    }
}

fn walk_compact(block: &CmpctBlock) {
    walk_header(&block.header());
    let ids: Vec<_> = block.short_ids().collect();
    let prefilled: Result<Vec<_>, _> = block.prefilled().collect();
    let keys = block.short_id_keys();
    assert_eq!(
        keys,
        p2p_proto::ShortIdKeys::new(&block.header(), block.nonce())
    );
    let Ok(prefilled) = prefilled else {
        return;
    };
    assert_eq!(block.tx_count(), (ids.len() + prefilled.len()) as u64);
    for filled in &prefilled {
        assert!(u64::from(filled.index) < block.tx_count());
        walk_tx(&filled.tx);
    }
    let again = CmpctBlock::new(block.header(), block.nonce(), &ids, &prefilled).unwrap();
    assert!(again.short_ids().eq(block.short_ids()));
    assert!(again.prefilled().eq(block.prefilled()));
}
