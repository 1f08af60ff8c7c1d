//! Bitcoin SV peers over TCP, with tokio.
//!
//! The sockets, timers and tasks around [`p2p_proto`] and [`p2p_core`], which decide everything:
//!
//! ```text
//!        your program
//!      ▲ NodeEvent  │ dial, listen, send
//! ┌────┴────────────▼────┐
//! │ Node                 │  broadcast channel out, one bounded channel in per connection
//! └────▲────────────┬────┘
//!      │   one task a connection
//! ┌────┴────────────▼────┐
//! │ p2p_proto::Connection│  no socket, no clock, no task
//! └────▲────────────┬────┘
//!      │  TcpStream ▼
//! ```
//!
//! ```no_run
//! use p2p_tokio::{Config, Network, Node, NodeEvent};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::new(Config::new(Network::Mainnet));
//! let mut events = node.subscribe();
//! for address in node.discover().await {
//!     node.dial(address);
//! }
//! while let Ok(event) = events.recv().await {
//!     if let NodeEvent::Message(event) = event {
//!         println!("{} from {}", event.message.command(), event.address);
//!     }
//! }
//! # Ok(()) }
//! ```

mod dns;
mod driver;
mod node;

pub use node::{Node, NodeEvent, SendFailure};
pub use p2p_core::{
    BitcoinMessageEvent, ConnectionError, ControlEvent, DialFailure, DiscoverySource, Peer,
};
pub use p2p_proto::{self, CloseReason, Config, Message, Network};
