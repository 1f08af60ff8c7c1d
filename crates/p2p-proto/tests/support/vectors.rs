//! Reads `tests/data`: frames of other people's software, with what they mean.

use std::path::Path;

use p2p_proto::Network;
use serde_json::{Map, Value};

/// A frame, and every field of it.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) network: Network,
    pub(crate) fields: Map<String, Value>,
    /// `None`: the frame is a header only.
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) frame: Vec<u8>,
}

pub(crate) fn vectors() -> Vec<Vector> {
    let vectors = read("protocol-vectors.json");
    let vector = |value: &Value| Vector {
        name: text(&value["name"]).to_owned(),
        network: text(&value["network"]).parse().unwrap(),
        fields: value["fields"].as_object().unwrap().clone(),
        payload: value["payload_hex"].as_str().map(from_hex),
        frame: from_hex(text(&value["frame_hex"])),
    };
    vectors.as_array().unwrap().iter().map(vector).collect()
}

pub(crate) fn vector(name: &str) -> Vector {
    let mut vectors = vectors();
    let at = vectors.iter().position(|vector| vector.name == name);
    vectors.swap_remove(at.unwrap_or_else(|| panic!("no vector {name}")))
}

/// Frames that a node sent on one connection, in order: command and bytes.
pub(crate) fn capture() -> (Network, Vec<(String, Vec<u8>)>) {
    let capture = read("captures.json");
    let frame = |value: &Value| {
        (
            text(&value["command"]).to_owned(),
            from_hex(text(&value["frame_hex"])),
        )
    };
    let frames = capture["frames"].as_array().unwrap();
    (
        text(&capture["network"]).parse().unwrap(),
        frames.iter().map(frame).collect(),
    )
}

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
