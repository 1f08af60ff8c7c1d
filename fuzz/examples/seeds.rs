//! Writes the seeds of every corpus, from the vectors and captures that the tests use.
//!
//! `cargo run --example seeds` in `fuzz/`; what is there already stays. Needed only when a
//! harness reads its input in another way than before.

use std::error::Error;
use std::fs;
use std::path::Path;

use bytes::BytesMut;
use p2p_proto::{Command, HEADER_LEN, Message, Network, encode_frame};
use serde_json::Value;

/// A frame, as it was on the wire.
struct Frame {
    name: String,
    network: Network,
    wire: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = here.join("../crates/p2p-proto/tests/data");
    let mut frames = vectors(&fs::read_to_string(data.join("protocol-vectors.json"))?)?;
    let captures = captures(&fs::read_to_string(data.join("captures.json"))?)?;
    let session: Vec<u8> = captures
        .iter()
        .flat_map(|frame| frame.wire.clone())
        .collect();
    frames.extend(captures);

    let corpus = Corpus(here.join("corpus"));
    corpus.add("frame", "session", &[&[0, 7], &session[..]].concat())?;
    corpus.add(
        "frame",
        "session-streamed",
        &[&[2, 3], &session[..]].concat(),
    )?;
    corpus.add(
        "frame",
        "session-stranger",
        &[&[4, 5], &session[..]].concat(),
    )?;
    for length in [4095, 4096, 4097] {
        edge(&corpus, length)?;
    }
    let mut text = vec![3];
    text.extend_from_slice(b"*x*custom:00000000:9333");
    corpus.add("text", "network", &text)?;
    corpus.add("text", "hash", &[&[0], "0f".repeat(32).as_bytes()].concat())?;
    corpus.add("text", "agent", b"\x07/spy:?//Bitcoin SV:1.2.2(cashew)/")?;
    for frame in &frames {
        frame.seed(&corpus)?;
    }
    for (name, steps) in SCRIPTS_BEFORE {
        corpus.add("connection_before", name, steps)?;
    }
    for (name, steps) in SCRIPTS_AFTER {
        corpus.add("connection_after", name, steps)?;
    }
    for (name, steps) in SCRIPTS_PAIR {
        corpus.add("pair_mutator", name, steps)?;
    }
    for (name, steps) in SCRIPTS_API {
        corpus.add("api", name, steps)?;
    }
    Ok(())
}

/// A payload about as long as what is copied, and as what a stranger may send.
fn edge(corpus: &Corpus, length: usize) -> Result<(), Box<dyn Error>> {
    let mut wire = BytesMut::new();
    let message = Message::Unknown {
        command: Command::new("whatever").ok_or("not a command")?,
        payload: vec![7; length].into(),
    };
    encode_frame(Network::Regtest, &message, &mut wire);
    for (how, bits) in [("whole", 0), ("streamed", 3), ("stranger", 4)] {
        let input = [&[bits, 7], &wire[..]].concat();
        corpus.add("frame", &format!("edge-{length}-{how}"), &input)?;
    }
    Ok(())
}

/// Version and verack from either side, then silence; a stranger without one.
const SCRIPTS_BEFORE: &[(&str, &[u8])] = &[
    (
        "admitted-unasked",
        b"\x00\x00\x05\x00nonce..8\x00\x06\x0a\x09",
    ),
    (
        "inbound",
        b"\x00\x00\x05\x00nonce..8\x00\x06\x09\x0a\x08\xff\x09",
    ),
    (
        "outbound",
        b"\x01\x00\x06\x05\x00nonce..8\x00\x09\x0a\x08\xff\x07\x61\xea",
    ),
    ("no-room", b"\x02\x00\x05\x00nonce..8\x00\x06\x08\xff\x09"),
    ("other-chain", b"\x00\x00\x05\x02nonce..8\x00"),
    ("obsolete", b"\x01\x00\x05\x00nonce..8\x04"),
    (
        "twice",
        b"\x00\x00\x05\x00nonce..8\x00\x05\x00nonce..8\x00\x06\x06",
    ),
    ("silent", b"\x00\x00\x07\x61\xea"),
    ("foreign", b"\x00\x00\x04\x04\xe3\xe1\xf3\xe8"),
];

/// Messages, a stream, other settings, a ping left alone, an end.
const SCRIPTS_AFTER: &[(&str, &[u8])] = &[
    (
        "flood-of-pings",
        b"\x00\x10\x07\x05\x20\x00\x08\x00nonce..8",
    ),
    (
        "send",
        b"\x00\x00\x05\x08\x00\x08\x06\x08\x02\x00\x20\x09\x03\x10\x00\x0e\x0f\x00",
    ),
    (
        "stream",
        b"\x00\x00\x05\x0a\x10\x10\x0b\x00\x01\x0d\x00\x01\x0b\xff\xff\x0e",
    ),
    (
        "configure",
        b"\x01\x00\x03\x0c\x55\x08\x02\xff\xff\x0c\xaa\x0e",
    ),
    (
        "time",
        b"\x00\x00\x03\x07\x60\xea\x0e\x07\x60\xea\x0e\x07\x61\xea",
    ),
];

/// Messages both ways, whole and in pieces, and every harm that a wire can do.
const SCRIPTS_PAIR: &[(&str, &[u8])] = &[
    (
        "talk",
        b"\x00\x00\x00\x01\x06\x02\x02\x00\x20\x16\x03\x02\x00\x20\x16",
    ),
    (
        "stream",
        b"\x01\x06\x10\x10\x08\x00\x10\x00\x01\x16\x08\xff\xff\x16",
    ),
    (
        "flip",
        b"\x00\x00\x02\x20\x00\x0a\xff\xff\x14\x00\x20\x00\x01\x16",
    ),
    (
        "lose",
        b"\x00\x00\x02\x20\x00\x0a\xff\xff\x14\x05\x20\x00\x16",
    ),
    (
        "double",
        b"\x00\x00\x02\x20\x00\x0a\xff\xff\x14\x06\x20\x00\x16",
    ),
    (
        "invent",
        b"\x00\x00\x02\x20\x00\x0a\xff\xff\x14\x07\x00\x00\x04\xda\xb5\xbf\xfa\x16",
    ),
];

/// A handshake, and every call there is.
const SCRIPTS_API: &[(&str, &[u8])] = &[
    (
        "all",
        b"\x00\x00\0\0\0\0\0\0\0\0\0\x01\x00nonce..8\x00\x02\x03\x12\x09\x14\x0b\x00\x0c\x00\x00\x0d\x01\x02\x00\x0e\x64\x00\x10\x11\x06\x03\x07\x60\xea\x08\x15\x16\x0a\0\0\0\0\0\0\0\0\0\0\x17\x13",
    ),
];

impl Frame {
    /// The seeds that this frame is good for.
    fn seed(&self, corpus: &Corpus) -> Result<(), Box<dyn Error>> {
        let network = if self.network == Network::Mainnet {
            16
        } else {
            0
        };
        for (how, bits) in [("", 8), ("-streamed", 9)] {
            let name = format!("{}{how}", self.name);
            let input = [&[network | bits, 1], &self.wire[..]].concat();
            corpus.add("frame", &name, &input)?;
        }
        let Some(command) = self.known() else {
            return Ok(());
        };
        let payload = &self.wire[HEADER_LEN..];
        corpus.add("message", &self.name, &[&[command], payload].concat())?;
        // Longer ones teach a fuzzer nothing that shorter ones do not.
        if payload.len() < 1000 {
            let length = (payload.len() as u16).to_le_bytes();
            let described = [&[0, command, 0], &length[..], payload].concat();
            let shaken = b"\x00\x00\x05\x00nonce..8\x00\x06\x09\x0a";
            corpus.add(
                "connection_before",
                &self.name,
                &[shaken, &described[..]].concat(),
            )?;
            corpus.add(
                "connection_after",
                &self.name,
                &[&[0, 0, 5], &described[..]].concat(),
            )?;
            corpus.add(
                "api",
                &self.name,
                &[&[0; 11], &described[..], &[3, 18]].concat(),
            )?;
            // Its length is one byte.
            if let Ok(length) = u8::try_from(payload.len()) {
                let sent = [&[0, 0, 4, command, length], payload].concat();
                corpus.add("pair_mutator", &self.name, &sent)?;
            }
        }
        if self.name == "cmpctblock_170" {
            let mut payload = payload.to_vec();
            // The prefilled transaction behind the end of its block.
            payload[96] = 2;
            corpus.add(
                "message",
                "edge-prefilled",
                &[&[command], &payload[..]].concat(),
            )?;
        }
        if self.wire[4..].starts_with(b"block\0") {
            for max_tx in 0..5 {
                let name = format!("{}-{max_tx}", self.name);
                corpus.add("splitter", &name, &[&[max_tx, 5, 1], payload].concat())?;
            }
        }
        Ok(())
    }

    /// The place of the command among the known ones, if it is one and its payload is there.
    fn known(&self) -> Option<u8> {
        let name = self.wire.get(4..16)?;
        let at = Command::KNOWN
            .iter()
            .position(|known| known.as_bytes()[..] == *name)?;
        u8::try_from(at).ok()
    }
}

struct Corpus(std::path::PathBuf);

impl Corpus {
    fn add(&self, target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
        Ok(())
    }
}

fn vectors(json: &str) -> Result<Vec<Frame>, Box<dyn Error>> {
    let vectors: Vec<Value> = serde_json::from_str(json)?;
    vectors
        .iter()
        .map(|vector| frame(vector, &vector["network"], &vector["name"]))
        .collect()
}

fn captures(json: &str) -> Result<Vec<Frame>, Box<dyn Error>> {
    let captures: Value = serde_json::from_str(json)?;
    let frames = captures["frames"].as_array().ok_or("no frames")?;
    let numbered = frames.iter().enumerate().map(|(at, captured)| {
        let name = Value::from(format!("captured-{at}"));
        frame(captured, &captures["network"], &name)
    });
    numbered.collect()
}

fn frame(value: &Value, network: &Value, name: &Value) -> Result<Frame, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("not a string");
    let hex = text(&value["frame_hex"])?;
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16);
    Ok(Frame {
        name: text(name)?,
        network: text(network)?.parse()?,
        wire: (0..hex.len())
            .step_by(2)
            .map(byte)
            .collect::<Result<_, _>>()?,
    })
}
