//! Output: lines for people, or JSON for programs.

use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use p2p_core::ControlEvent;
use p2p_proto::{Message, escaped};
use p2p_tokio::NodeEvent;
use serde_json::{Map, Value, json};

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
    /// A reporter for these options. Installs the log's subscriber: errors, unless `RUST_LOG`
    /// says otherwise; what goes well or badly with a peer is an event, and printed as such.
    pub fn new(options: &Options) -> Self {
        use tracing_subscriber::EnvFilter;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
        // A program that calls this twice keeps the first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .try_init();
        let form = match (options.json, options.quiet) {
            (true, _) => Form::Json,
            (false, true) => Form::Quiet,
            (false, false) => Form::Text,
        };
        Self { form }
    }

    /// Prints an event.
    ///
    /// # Errors
    /// When standard output is gone: there is nobody left to run for.
    pub fn event(&self, event: &NodeEvent) -> io::Result<()> {
        match self.form {
            Form::Json => print(&timed(json::event(event))),
            Form::Text => print(&format!(
                "{} {}",
                now().strftime("%H:%M:%S%.3f"),
                line(event)
            )),
            Form::Quiet => Ok(()),
        }
    }

    /// Prints that events were missed.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn lagged(&self, missed: u64) -> io::Result<()> {
        match self.form {
            Form::Json => print(&timed(json!({ "lagged": missed }))),
            Form::Text => print(&format!("missed {missed} events: output is too slow")),
            Form::Quiet => Ok(()),
        }
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

fn now() -> Timestamp {
    Timestamp::now()
}

fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
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

fn line(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Control(event) => control_line(event),
        NodeEvent::Message(event) => {
            format!("{}  {}", event.address, message_line(&event.message))
        }
        NodeEvent::Skipped {
            address,
            command,
            length,
            ..
        } => format!("{address}  {command} of {length} bytes, skipped"),
        other => format!("{other:?}"),
    }
}

fn control_line(event: &ControlEvent) -> String {
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
        ControlEvent::InboundConnectionAccepted { address, .. } => {
            format!("{address}  accepted")
        }
        ControlEvent::ListenerStarted { address } => format!("listening on {address}"),
        ControlEvent::ListenerBindFailed { address, error } => {
            format!("cannot listen on {address}: {error}")
        }
        ControlEvent::PeersDiscovered { count, .. } => format!("{count} addresses found"),
        ControlEvent::ShuttingDown => "shutting down".into(),
        other => format!("{other:?}"),
    }
}

fn message_line(message: &Message) -> String {
    let command = message.command();
    match message {
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
        other => format!("{command}, {} bytes", other.payload_len()),
    }
}
