//! Is it Bitcoin SV? Who may stay, judged by the `version` message.

use std::fmt;

use wildmatch::WildMatch;

use crate::message::Version;
use crate::text::UserAgent;

/// Decides from a peer's `version` whether it may stay, before our verack is sent.
///
/// Plug in your own for rules that need no more than this message; rules about other
/// connections are the manager's.
///
/// ```
/// use p2p_proto::{PeerPolicy, Refusal, Services, Version};
///
/// /// Only nodes that serve the whole chain.
/// #[derive(Debug)]
/// struct FullNodesOnly;
///
/// impl PeerPolicy for FullNodesOnly {
///     fn check(&self, version: &Version) -> Result<(), Refusal> {
///         if version.services.contains(Services::NETWORK) {
///             Ok(())
///         } else {
///             Err(Refusal::Unwanted { why: "serves no blocks" })
///         }
///     }
/// }
/// ```
pub trait PeerPolicy: fmt::Debug + Send + Sync {
    /// Judges a peer.
    ///
    /// # Errors
    /// The [`Refusal`]: the connection ends with it.
    fn check(&self, version: &Version) -> Result<(), Refusal>;
}

/// Why a policy refuses a peer.
///
/// ```
/// use p2p_proto::{ChainPolicy, NetworkAddress, PeerPolicy, Refusal, StandardPolicy, UserAgent, Version};
///
/// let mut version = Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED);
/// version.user_agent = UserAgent::from_static("/Bitcoin ABC:0.22.0/");
/// assert_eq!(StandardPolicy::default().check(&version), Err(Refusal::OtherChain));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is of another chain: ban-worthy.
    OtherChain,
    /// Its agent is on the operator's list: ban-worthy.
    BannedUserAgent,
    /// It is not what this program looks for; no fault of its own.
    Unwanted {
        /// What it lacks.
        why: &'static str,
    },
}

/// How the chain is told from the user agent; the `version` message has no field for it.
///
/// ```
/// use p2p_proto::{ChainPolicy, NetworkAddress, PeerPolicy, StandardPolicy, UserAgent, Version};
///
/// let mut version = Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED);
/// version.user_agent = UserAgent::from_static("/my-wallet:1.0/");
/// let admits = |policy| StandardPolicy::new(policy, []).check(&version).is_ok();
/// assert!(admits(ChainPolicy::Default) && !admits(ChainPolicy::Strict));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum ChainPolicy {
    /// Refuse agents that name another chain, accept all others: Teranode and light clients too.
    #[default]
    Default,
    /// Accept only agents that name known Bitcoin SV software.
    Strict,
    /// Accept all.
    Any,
}

/// Substrings of agents of other chains that [`NODE_BANS`] misses.
const OTHER_CHAINS: [&str; 4] = ["satoshi:", "unlimited", "knuth", "flowee"];

/// Substrings of agents of Bitcoin SV software.
const BITCOIN_SV: [&str; 5] = ["bitcoin sv", "teranode", "bsvd", "bsvwire", "bsv-p2p"];

/// What a node of the default configuration bans (`DEFAULT_CLIENTUA_BAN_PATTERNS`): an agent of
/// ours must hold none of them.
pub const NODE_BANS: [&str; 3] = ["abc", "cash", "bch"];

/// The pattern of another chain that an agent matches, if any.
///
/// ```
/// use p2p_proto::{UserAgent, other_chain};
///
/// assert_eq!(other_chain(&UserAgent::from_static("/Bitcoin Cash Node:27.0.0/")), Some("cash"));
/// assert_eq!(other_chain(&UserAgent::from_static("/Bitcoin SV:1.2.2/")), None);
/// ```
pub fn other_chain(agent: &UserAgent) -> Option<&'static str> {
    banned_by_nodes(agent).or_else(|| find(agent, &OTHER_CHAINS))
}

/// The pattern for which a node of the default configuration would ban an agent, if any.
///
/// ```
/// use p2p_proto::{UserAgent, banned_by_nodes};
///
/// assert_eq!(banned_by_nodes(&UserAgent::from_static("/cashew:1.0/")), Some("cash"));
/// assert_eq!(banned_by_nodes(&UserAgent::from_static("/my-wallet:1.0/")), None);
/// ```
pub fn banned_by_nodes(agent: &UserAgent) -> Option<&'static str> {
    find(agent, &NODE_BANS)
}

fn find(agent: &UserAgent, patterns: &[&'static str]) -> Option<&'static str> {
    let agent = agent.as_bytes().to_ascii_lowercase();
    let holds = |pattern: &&str| {
        agent
            .windows(pattern.len())
            .any(|part| part == pattern.as_bytes())
    };
    patterns.iter().copied().find(holds)
}

/// The policy that comes with the crate: a [`ChainPolicy`], and the operator's list of agents.
///
/// ```
/// use p2p_proto::{ChainPolicy, NetworkAddress, PeerPolicy, Refusal, StandardPolicy, UserAgent, Version};
///
/// let policy = StandardPolicy::new(ChainPolicy::Default, ["*evil*"]);
/// let mut version = Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED);
/// version.user_agent = UserAgent::from_static("/evil:1.0/");
/// assert_eq!(policy.check(&version), Err(Refusal::BannedUserAgent));
/// ```
#[derive(Debug, Clone, Default)]
pub struct StandardPolicy {
    chain: ChainPolicy,
    banned: Vec<WildMatch>,
}

impl StandardPolicy {
    /// A policy with a list of banned agents: wildcards `*` and `?`, matched against the whole
    /// agent in its escaped form, upper and lower case alike.
    pub fn new<'a>(
        chain: ChainPolicy,
        banned_user_agents: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            chain,
            banned: banned_user_agents
                .into_iter()
                .map(WildMatch::new_case_insensitive)
                .collect(),
        }
    }
}

impl PeerPolicy for StandardPolicy {
    fn check(&self, version: &Version) -> Result<(), Refusal> {
        let agent = &version.user_agent;
        let accepted = match self.chain {
            ChainPolicy::Default => other_chain(agent).is_none(),
            ChainPolicy::Strict => {
                other_chain(agent).is_none() && find(agent, &BITCOIN_SV).is_some()
            }
            ChainPolicy::Any => true,
        };
        if !accepted {
            return Err(Refusal::OtherChain);
        }
        if !self.banned.is_empty() {
            let text = agent.to_string();
            if self.banned.iter().any(|pattern| pattern.matches(&text)) {
                return Err(Refusal::BannedUserAgent);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::NetworkAddress;

    fn version(agent: &'static str) -> Version {
        Version {
            user_agent: UserAgent::from_static(agent),
            ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
        }
    }

    #[test]
    fn test_blockchain_identification_from_user_agent() {
        use ChainPolicy::{Any, Default, Strict};
        for (agent, default, strict) in [
            ("/Bitcoin SV:1.2.2/", true, true),
            (
                "/teranode-legacy-p2p:0.13.0(EB18446744073709.6)/",
                true,
                true,
            ),
            ("/bsvwire:0.5.0/bsvd:0.2.0/", true, true),
            ("/my-light-client:0.1/", true, false),
            ("", true, false),
            ("/bcoin:2.2.0/", true, false),
            ("/Satoshi:27.0.0/", false, false),
            ("/Bitcoin ABC:0.30.0/", false, false),
            ("/Bitcoin Cash Node:27.0.0/", false, false),
            ("/BCH Unlimited:2.0.0/", false, false),
            ("/BitcoinUnlimited:1.10/", false, false),
            ("/bchd:0.20.0/", false, false),
            ("/Knuth:0.30/", false, false),
            ("/Flowee:2023.01/", false, false),
            ("/bcash:1.1.1/", false, false),
            ("/Bitcoin SV:1.2.2(cashew)/", false, false),
        ] {
            let version = version(agent);
            let accepts = |chain| StandardPolicy::new(chain, []).check(&version).is_ok();
            assert_eq!(accepts(Default), default, "{agent}");
            assert_eq!(accepts(Strict), strict, "{agent}");
            assert!(accepts(Any), "{agent}");
        }
    }

    #[test]
    fn banned_agents_match_as_wildcards_over_the_whole_agent() {
        let policy = StandardPolicy::new(ChainPolicy::Any, ["/spy:?.?/", "*Crawler*"]);
        for (agent, banned) in [
            ("/spy:1.0/", true),
            ("/spy:10.0/", false),
            ("x/spy:1.0/", false),
            ("/some crawler:2/", true),
        ] {
            assert_eq!(policy.check(&version(agent)).is_err(), banned, "{agent}");
        }
    }
}
