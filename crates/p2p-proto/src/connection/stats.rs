//! What went over a connection: in all, and by command.

use crate::command::Command;

/// What went over a connection.
///
/// ```
/// use p2p_proto::Stats;
///
/// fn line(stats: &Stats) -> String {
///     let Stats { bytes_received, bytes_sent, discarded, .. } = stats;
///     format!("{bytes_received} bytes in, {bytes_sent} out, {discarded} frames dropped")
/// }
/// assert_eq!(line(&Stats::default()), "0 bytes in, 0 out, 0 frames dropped");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes taken from the driver's buffer.
    pub bytes_received: u64,
    /// Bytes that the socket has taken.
    pub bytes_sent: u64,
    /// Whole and streamed messages received, the handshake's included.
    pub messages_received: u64,
    /// Messages queued to be sent, the handshake's included.
    pub messages_sent: u64,
    /// Frames dropped.
    pub discarded: u64,
    /// Pongs that answered no ping of the connection's own.
    pub unknown_pongs: u64,
}

/// Which way a message went.
///
/// ```
/// use p2p_proto::{Flow, Tally};
///
/// fn label(tally: &Tally) -> &'static str {
///     match tally.flow {
///         Flow::Received => "in",
///         Flow::Sent => "out",
///     }
/// }
/// # let _ = label;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// From the peer.
    Received,
    /// To the peer.
    Sent,
}

/// Messages of one command that went one way, those of the handshake and of the connection's own
/// included: see [`Connection::poll_tally`](crate::Connection::poll_tally).
///
/// ```
/// use p2p_proto::{Flow, Tally};
///
/// fn bytes_sent(tallies: &[Tally]) -> u64 {
///     tallies.iter().filter(|tally| tally.flow == Flow::Sent).map(|tally| tally.bytes).sum()
/// }
/// assert_eq!(bytes_sent(&[]), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Which way.
    pub flow: Flow,
    /// One of [`Command::KNOWN`]; `None` for all others together, so that no peer can make a list
    /// grow.
    pub command: Option<Command>,
    /// How many.
    pub messages: u32,
    /// Bytes of their payloads, headers apart.
    pub bytes: u64,
}

/// What was counted and not yet taken: at most two entries for each known command, however long
/// nobody asks.
#[derive(Debug, Default)]
pub(super) struct Tallies(Vec<Tally>);

impl Tallies {
    pub(super) fn count(&mut self, flow: Flow, command: Command, length: u64) {
        // Few differ between two turns of the driver: the list is shorter than that of all.
        let same = |tally: &Tally| tally.flow == flow && tally.command == Some(command);
        if let Some(at) = self.0.iter().position(same) {
            return self.add(at, length);
        }
        let command = Command::KNOWN.contains(&command).then_some(command);
        let same = |tally: &Tally| tally.flow == flow && tally.command == command;
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(Tally {
                flow,
                command,
                messages: 0,
                bytes: 0,
            });
            self.0.len() - 1
        });
        self.add(at, length);
    }

    pub(super) fn take(&mut self) -> Option<Tally> {
        self.0.pop()
    }

    fn add(&mut self, at: usize, length: u64) {
        if let Some(tally) = self.0.get_mut(at) {
            tally.messages = tally.messages.saturating_add(1);
            tally.bytes = tally.bytes.saturating_add(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_counted_by_itself_and_all_unknown_ones_together() {
        let mut tallies = Tallies::default();
        for _ in 0..3 {
            tallies.count(Flow::Received, Command::PING, 8);
        }
        tallies.count(Flow::Sent, Command::PING, 8);
        for i in 0..1000 {
            let command = Command::new(&format!("x{i}")).unwrap();
            tallies.count(Flow::Received, command, 2);
        }
        let tally = |flow, command, messages, bytes| {
            Some(Tally {
                flow,
                command,
                messages,
                bytes,
            })
        };
        assert_eq!(tallies.take(), tally(Flow::Received, None, 1000, 2000));
        let ping = Some(Command::PING);
        assert_eq!(tallies.take(), tally(Flow::Sent, ping, 1, 8));
        assert_eq!(tallies.take(), tally(Flow::Received, ping, 3, 24));
        assert_eq!(tallies.take(), None);
    }

    #[test]
    fn who_never_asks_keeps_no_more_than_two_entries_a_command() {
        let mut tallies = Tallies::default();
        for flow in [Flow::Received, Flow::Sent] {
            for &command in Command::KNOWN {
                for length in 0..10 {
                    tallies.count(flow, command, length);
                }
            }
        }
        assert_eq!(tallies.0.len(), 2 * Command::KNOWN.len());
    }
}
