//! The networks: magic, port, seeds.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A Bitcoin SV network.
///
/// Constants: the node's `src/chainparams.cpp`. Text and serde form: `mainnet`, `testnet`, `stn`,
/// `regtest`, or `custom:<magic as 8 hex digits, wire order>:<port>`.
///
/// BCH and eCash share the magic of main, test and regtest (it was inherited from the fork of
/// 2017): the magic keeps BTC out, [`PeerPolicy`](crate::PeerPolicy) the others.
///
/// ```
/// use p2p_proto::Network;
///
/// assert_eq!(Network::Mainnet.magic_bytes(), [0xe3, 0xe1, 0xf3, 0xe8]);
/// assert_eq!(Network::Mainnet.magic(), 0xe8f3_e1e3);
/// let teranode_stn: Network = "custom:00000000:9333".parse()?;
/// assert_eq!(teranode_stn.default_port(), 9333);
/// # Ok::<(), p2p_proto::ParseNetworkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Network {
    /// The main network.
    Mainnet,
    /// The test network (testnet3).
    Testnet,
    /// The scaling test network, by the node's magic; Teranode's is `custom:00000000:9333`.
    Stn,
    /// A private chain with trivial proof of work.
    Regtest,
    /// Any other network that speaks the protocol.
    Custom {
        /// The magic as a little-endian number; see [`Network::custom`].
        magic: u32,
        /// The port that peers listen on by default.
        port: u16,
    },
}

/// Text that names no network.
///
/// ```
/// use p2p_proto::Network;
///
/// let error = "mainet".parse::<Network>().unwrap_err();
/// assert!(error.to_string().starts_with("\"mainet\" is no network: use mainnet, testnet"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no network: use mainnet, testnet, stn, regtest or custom:<magic, 8 hex digits>:<port>"
)]
pub struct ParseNetworkError {
    text: String,
}

impl Network {
    /// A custom network from its magic in wire order.
    pub const fn custom(magic_bytes: [u8; 4], port: u16) -> Self {
        Self::Custom {
            magic: u32::from_le_bytes(magic_bytes),
            port,
        }
    }

    /// The magic as a little-endian number (mainnet 0xe8f3e1e3).
    pub const fn magic(&self) -> u32 {
        match self {
            Self::Mainnet => 0xe8f3_e1e3,
            Self::Testnet => 0xf4f3_e5f4,
            Self::Stn => 0xf9c4_cefb,
            Self::Regtest => 0xfabf_b5da,
            Self::Custom { magic, .. } => *magic,
        }
    }

    /// The magic as it stands on the wire.
    pub const fn magic_bytes(&self) -> [u8; 4] {
        self.magic().to_le_bytes()
    }

    /// The port that peers listen on by default.
    pub const fn default_port(&self) -> u16 {
        match self {
            Self::Mainnet => 8333,
            Self::Testnet => 18333,
            Self::Stn => 9333,
            Self::Regtest => 18444,
            Self::Custom { port, .. } => *port,
        }
    }

    /// The DNS seeds of the node; none for regtest and custom networks.
    pub const fn dns_seeds(&self) -> &'static [&'static str] {
        match self {
            Self::Mainnet => &[
                "seed.bitcoinsv.io",
                "seed.satoshisvision.network",
                "seed.bitcoinseed.directory",
            ],
            Self::Testnet => &[
                "testnet-seed.bitcoinsv.io",
                "testnet-seed.bitcoincloud.net",
                "testnet-seed.bitcoinseed.directory",
            ],
            Self::Stn => &["stn-seed.bitcoinsv.io", "stn-seed.bitcoinseed.directory"],
            Self::Regtest | Self::Custom { .. } => &[],
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mainnet => f.pad("mainnet"),
            Self::Testnet => f.pad("testnet"),
            Self::Stn => f.pad("stn"),
            Self::Regtest => f.pad("regtest"),
            Self::Custom { port, .. } => {
                write!(f, "custom:{}:{port}", magic_text(self.magic_bytes()))
            }
        }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        match text {
            "mainnet" => Ok(Self::Mainnet),
            "testnet" => Ok(Self::Testnet),
            "stn" => Ok(Self::Stn),
            "regtest" => Ok(Self::Regtest),
            _ => parse_custom(text).ok_or_else(|| ParseNetworkError { text: text.into() }),
        }
    }
}

/// A magic in wire order, as 8 hex digits.
pub(crate) fn magic_text([a, b, c, d]: [u8; 4]) -> String {
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

fn parse_custom(text: &str) -> Option<Network> {
    let (magic, port) = text.strip_prefix("custom:")?.split_once(':')?;
    // `from_str_radix` and `parse` take a sign; a magic and a port have none.
    if magic.len() != 8 || !magic.bytes().all(|b| b.is_ascii_hexdigit()) || port.starts_with('+') {
        return None;
    }
    let magic = u32::from_str_radix(magic, 16).ok()?;
    Some(Network::custom(magic.to_be_bytes(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_network_magic_values() {
        for (network, wire, magic) in [
            (Network::Mainnet, [0xe3, 0xe1, 0xf3, 0xe8], 0xe8f3_e1e3),
            (Network::Testnet, [0xf4, 0xe5, 0xf3, 0xf4], 0xf4f3_e5f4),
            (Network::Stn, [0xfb, 0xce, 0xc4, 0xf9], 0xf9c4_cefb),
            (Network::Regtest, [0xda, 0xb5, 0xbf, 0xfa], 0xfabf_b5da),
            (Network::custom([1, 2, 3, 4], 9), [1, 2, 3, 4], 0x0403_0201),
        ] {
            assert_eq!(network.magic_bytes(), wire, "{network}");
            assert_eq!(network.magic(), magic, "{network}");
        }
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "mainnet",
            "testnet",
            "stn",
            "regtest",
            "custom:0d01090c:18333",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
    }

    #[test]
    fn other_text_is_refused_and_quoted() {
        for text in [
            "",
            "main",
            "Mainnet",
            "custom:0d01:1",
            "custom:+d01090c:1",
            "custom:0d01090c:+1",
            "custom:0d01090c:65536",
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
