//! Output: lines for people, or JSON for programs.

use std::io::{self, Write};
use std::net::SocketAddr;

use jiff::Timestamp;
use p2p_proto::{CloseReason, Message, Network, Version, escaped};
use p2p_tokio::{
    BitcoinMessageEvent, ControlEvent, DiscoverySource, Event, LogLevel, Peer, logging,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::json;
use crate::options::Options;

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Quiet,
}

/// Prints events to standard output as the options say; logs go to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Reporter {
    form: Form,
}

impl Reporter {
    /// A reporter for these options. Logs to standard error: errors, unless the program has said
    /// otherwise before, or `RUST_LOG` does; what goes well or badly with a peer is an event, and
    /// printed as such.
    pub fn new(options: &Options) -> Self {
        // A program that has a log keeps it.
        let _ = logging::init(LogLevel::Error);
        let form = match (options.json, options.quiet) {
            (true, _) => Form::Json,
            (false, true) => Form::Quiet,
            (false, false) => Form::Text,
        };
        Self { form }
    }

    /// Whether lines for people are printed.
    pub fn is_for_people(&self) -> bool {
        self.form == Form::Text
    }

    /// Prints an event.
    ///
    /// # Errors
    /// When standard output is gone: there is nobody left to run for.
    pub fn event(&self, event: &Event) -> io::Result<()> {
        self.tell(|| line(event), || json::event(event))
    }

    /// Prints something else that happened: a line for people, an object for programs.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn tell(
        &self,
        text: impl FnOnce() -> String,
        object: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        match self.form {
            Form::Json => print(&timed(object())),
            Form::Text => print(&timed_line(&text())),
            Form::Quiet => Ok(()),
        }
    }

    /// Prints that events were missed.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn lagged(&self, missed: u64) -> io::Result<()> {
        self.tell(
            || format!("missed {missed} events: output is too slow"),
            || json!({ "lagged": missed }),
        )
    }

    /// Prints a line for people only.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn note(&self, text: &str) -> io::Result<()> {
        match self.form {
            Form::Text => print(text),
            Form::Json | Form::Quiet => Ok(()),
        }
    }
}

/// Prints what one peer does, for programs that drive the connection themselves, in the words of
/// those that leave it to the manager.
#[derive(Debug, Clone, Copy)]
pub struct PeerReporter {
    reporter: Reporter,
    peer_id: Uuid,
    address: SocketAddr,
}

impl PeerReporter {
    /// A reporter for the peer at this address.
    pub fn new(reporter: Reporter, network: Network, address: SocketAddr) -> Self {
        Self {
            reporter,
            peer_id: Peer::id_of(network, address),
            address,
        }
    }

    /// Prints what a peer says of itself.
    ///
    /// # Errors
    /// As [`Reporter::event`].
    pub fn handshake(&self, version: &Version) -> io::Result<()> {
        let event = ControlEvent::HandshakeComplete {
            peer_id: self.peer_id,
            address: self.address,
            user_agent: version.user_agent.clone(),
            version: version.version,
            services: version.services,
            height: version.start_height,
        };
        self.reporter.event(&Event::Control(event))
    }

    /// Prints a message.
    ///
    /// # Errors
    /// As [`Reporter::event`].
    pub fn message(&self, message: &Message) -> io::Result<()> {
        let event = BitcoinMessageEvent::new(self.peer_id, self.address, message.clone());
        self.reporter.event(&Event::Message(event))
    }

    /// Prints how it ended.
    ///
    /// # Errors
    /// As [`Reporter::event`].
    pub fn lost(&self, reason: &CloseReason) -> io::Result<()> {
        let event = ControlEvent::ConnectionLost {
            peer_id: self.peer_id,
            address: self.address,
            initiator: reason.initiator(),
            reason: reason.clone().into(),
        };
        self.reporter.event(&Event::Control(event))
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// The line with its time in front: UTC, milliseconds.
pub fn timed_line(text: &str) -> String {
    format!("{} {text}", now().strftime("%H:%M:%S%.3f"))
}

/// The object with its time in front: RFC 3339, UTC, milliseconds.
fn timed(value: Value) -> String {
    let mut object = Map::new();
    object.insert("time".into(), format!("{:.3}", now()).into());
    if let Value::Object(fields) = value {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// What happened, in a line without its time.
pub fn line(event: &Event) -> String {
    match event {
        Event::Control(event) => control_line(event),
        Event::Message(event) => {
            format!("{}  {}", event.address, message_line(&event.message))
        }
        Event::Skipped(skipped) => format!(
            "{}  {} of {} bytes, skipped",
            skipped.address, skipped.command, skipped.length
        ),
        other => format!("{other:?}"),
    }
}

/// What happened, in a line without its time.
pub fn control_line(event: &ControlEvent) -> String {
    match event {
        ControlEvent::ConnectionEstablished {
            address,
            is_inbound,
            ..
        } => {
            let direction = if *is_inbound { "inbound" } else { "outbound" };
            format!("{address}  established, {direction}")
        }
        ControlEvent::ConnectionFailed {
            address, reason, ..
        } => format!("{address}  failed: {reason}"),
        ControlEvent::ConnectionLost {
            address, reason, ..
        } => format!("{address}  lost: {reason}"),
        ControlEvent::ConnectionRestarting {
            address, attempt, ..
        } => format!("{address}  dialled again at once, restart {attempt}"),
        ControlEvent::HandshakeComplete {
            address,
            user_agent,
            version,
            services,
            height,
            ..
        } => format!(
            "{address}  handshake complete: {user_agent}, version {version}, services {:#x}, height {height}",
            services.0
        ),
        ControlEvent::PeerMisbehavior {
            address, reason, ..
        } => format!("{address}  misbehaved: {reason}"),
        ControlEvent::PeerBanned { ip, reason, until } => match until {
            Some(until) => format!("{ip}  banned until {until}: {reason:?}"),
            None => format!("{ip}  banned until the ban is lifted: {reason:?}"),
        },
        ControlEvent::PeerUnbanned { ip } => format!("{ip}  ban lifted"),
        ControlEvent::InboundConnectionAccepted { address, .. } => {
            format!("{address}  accepted")
        }
        ControlEvent::InboundConnectionRejected { address, reason } => {
            format!("{address}  dropped unread: {reason}")
        }
        ControlEvent::ConnectionRejectedCapacity { address, .. } => {
            format!("{address}  told that there is no room")
        }
        ControlEvent::ListenerStarted { address } => format!("listening on {address}"),
        ControlEvent::ListenerBindFailed { address, error } => {
            format!("cannot listen on {address}: {error}; tried again later")
        }
        ControlEvent::PeersDiscovered { source, count } => {
            format!("new addresses from {}: {count}", source_name(*source))
        }
        ControlEvent::StoreFailed { error } => {
            format!("peers not stored: {error}; tried again later")
        }
        ControlEvent::ConfigUpdated => "configuration updated".into(),
        ControlEvent::ShuttingDown => "shutting down".into(),
        other => format!("{other:?}"),
    }
}

/// How a source of addresses is called.
pub(crate) fn source_name(source: DiscoverySource) -> &'static str {
    match source {
        DiscoverySource::Dns => "dns",
        DiscoverySource::Gossip => "gossip",
        _ => "elsewhere",
    }
}

fn message_line(message: &Message) -> String {
    let command = message.command();
    match message {
        Message::Version(version) => format!(
            "version {}: {}, height {}",
            version.version, version.user_agent, version.start_height
        ),
        Message::Ping(nonce) | Message::Pong(nonce) => format!("{command} {nonce}"),
        Message::Addr(addr) => {
            let first = addr.iter().next().map(|entry| entry.address.socket_addr());
            match first {
                Some(first) => format!("addr: {} addresses, first {first}", addr.len()),
                None => "addr: empty".into(),
            }
        }
        Message::Inv(list) | Message::GetData(list) | Message::NotFound(list) => {
            match list.iter().next() {
                Some(item) if list.len() == 1 => {
                    format!("{command}: {:?} {}", item.kind, item.hash)
                }
                Some(item) => format!(
                    "{command}: {} entries, first {:?} {}",
                    list.len(),
                    item.kind,
                    item.hash
                ),
                None => format!("{command}: empty"),
            }
        }
        Message::Headers(headers) => match headers.iter().last() {
            Some(last) => format!("headers: {}, last {}", headers.len(), last.hash()),
            None => "headers: none".into(),
        },
        Message::Tx(tx) => format!("tx {}, {} bytes", tx.txid(), tx.len()),
        Message::Block(block) => format!(
            "block {}, {} bytes, {} transactions",
            block.hash(),
            block.as_bytes().len(),
            block.tx_count()
        ),
        Message::Reject(reject) => format!("reject {reject}"),
        Message::Protoconf(protoconf) => format!(
            "protoconf: payloads up to {}, policies {}",
            protoconf.max_payload(),
            escaped(protoconf.stream_policies().unwrap_or_default())
        ),
        other => match other.payload_len() {
            0 => command.to_string(),
            length => format!("{command}, {length} bytes"),
        },
    }
}
