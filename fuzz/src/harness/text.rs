//! What is read from text: settings, records, and what peers call themselves.

use p2p_proto::{
    ChainPolicy, Command, Hash256, MAX_USER_AGENT, NODE_BANS, Network, NetworkAddress, PeerPolicy,
    StandardPolicy, UserAgent, Version, banned_by_nodes, escaped, other_chain,
};

use super::input::Input;

/// Text that is read is written the same; a peer's text is printable and judged alike whatever
/// its case.
///
/// Input: the length of a pattern of the operator's, the pattern, then text.
pub fn text(data: &[u8]) {
    let mut input = Input::new(data);
    let n = usize::from(input.u8());
    let pattern = String::from_utf8_lossy(input.take(n));
    let bytes = input.rest();
    let text = String::from_utf8_lossy(bytes);
    round_trips(&text);

    let shown = escaped(bytes).to_string();
    assert!(shown.bytes().all(|byte| matches!(byte, 0x20..=0x7E)));
    let Some(agent) = UserAgent::new(bytes.to_vec()) else {
        assert!(bytes.len() > MAX_USER_AGENT);
        return;
    };
    assert_eq!(agent.to_string(), shown);
    let upper = UserAgent::new(bytes.to_ascii_uppercase()).unwrap();
    assert_eq!(other_chain(&agent), other_chain(&upper));
    assert_eq!(banned_by_nodes(&agent), banned_by_nodes(&upper));
    if banned_by_nodes(&agent).is_some_and(|pattern| NODE_BANS.contains(&pattern)) {
        assert!(other_chain(&agent).is_some());
    }
    judge(agent, &pattern);
}

fn round_trips(text: &str) {
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
    if let Ok(hash) = text.parse::<Hash256>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    if let Some(command) = Command::new(text) {
        assert_eq!(command.as_str(), text);
        assert_eq!(Command::from_bytes(*command.as_bytes()), Ok(command));
    }
}

fn judge(agent: UserAgent, pattern: &str) {
    let version = Version {
        user_agent: agent.clone(),
        ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
    };
    let accepts = |chain, banned: &[&str]| {
        StandardPolicy::new(chain, banned.iter().copied())
            .check(&version)
            .is_ok()
    };
    assert!(accepts(ChainPolicy::Any, &[]));
    assert_eq!(
        accepts(ChainPolicy::Default, &[]),
        other_chain(&agent).is_none()
    );
    assert!(!accepts(ChainPolicy::Any, &["*"]));
    if accepts(ChainPolicy::Strict, &[pattern]) {
        assert!(accepts(ChainPolicy::Default, &[pattern]));
    }
}
