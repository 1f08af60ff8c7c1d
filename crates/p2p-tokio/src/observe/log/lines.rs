//! The kinds of lines that peers can cause.

use p2p_proto::Network;
use tracing::Level;

macro_rules! lines {
    ($($line:ident = $words:literal at $level:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Line {
            $($line,)*
        }

        impl Line {
            pub(super) const ALL: &'static [Self] = &[$(Self::$line,)*];

            /// Whether anybody may listen to lines of its level. No subscriber is asked: one that
            /// is asked about an event must get it (`tracing_subscriber` remembers the answer).
            pub(super) fn may_be_wanted(self) -> bool {
                match self {
                    $(Self::$line => tracing::level_enabled!(Level::$level),)*
                }
            }

            /// Tells those who want such lines how many they did not get.
            pub(super) fn tell_left_out(self, network: Network, count: u64) {
                match self {
                    $(Self::$line => tracing::event!(
                        target: "p2p_tokio", Level::$level, %network, line = $words, count,
                        "more lines like this were left out"
                    ),)*
                }
            }
        }
    };
}

lines! {
    Established = "connection established" at INFO,
    Handshake = "handshake complete" at INFO,
    Accepted = "connection accepted" at DEBUG,
    Refused = "connection dropped unread" at DEBUG,
    Dialling = "dialling" at DEBUG,
    Connected = "connected; shaking hands" at DEBUG,
    Closing = "closing the connection" at DEBUG,
    Failed = "connection failed" at WARN,
    Lost = "connection lost" at INFO,
    Restarting = "dialling again at once" at INFO,
    NoRoom = "no room; the peer was told so" at INFO,
    Misbehaved = "peer misbehaved; connection closed, no ban" at WARN,
    Banned = "banned" at WARN,
    Unbanned = "ban lifted" at INFO,
    Discovered = "peers discovered" at DEBUG,
    FrameDropped = "frame dropped" at DEBUG,
    NotSent = "message not sent" at WARN,
    NotAccepted = "cannot accept a connection; the listener goes on" at WARN,
}
