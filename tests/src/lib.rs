//! What the tests of this workspace share: a deterministic simulator, and a chain.
//!
//! # The simulator
//!
//! A [`World`] runs whole networks of the real [`p2p_core::Manager`] and the real
//! [`p2p_proto::Connection`], framing included, in virtual time: hours in seconds, with
//! everything that can go wrong, and the same again for the same seed, byte for byte. After every
//! step it is checked that every [`Rule`] holds; a [`Violation`] tells which does not.
//!
//! ```text
//!  World ── Queue: what is to happen, by time
//!    │
//!    ├── Network: sockets, pipes like TCP, listeners, DNS, broken lines, chance, the Trace
//!    │
//!    └── hosts ─┬─ Node: Manager + Connections + Disk, and a Ledger that watches them
//!               └─ Program: anything else, hostile or not
//! ```
//!
//! Whoever builds on these crates can use it for a protocol of their own: a [`Program`] is what
//! runs on a host. `docs/simulator.md` tells how to replay a failure, and which bug each rule
//! catches.
//!
//! ```
//! use std::time::Duration;
//! use p2p_sim::{Fault, World, scenario};
//!
//! let mut world = World::new(1);
//! let nodes: Vec<_> = (0..5).map(|_| world.add_node(scenario::node())).collect();
//! let patience = world.patience();
//! world.run_until(patience, "all know each other", |world| world.below_target().is_empty())?;
//! world.inject(Fault::Outage(true))?;
//! world.run_for(Duration::from_secs(600))?;
//! world.inject(Fault::Outage(false))?;
//! world.run_until(patience, "as before", |world| world.below_target().is_empty())?;
//! # Ok::<(), p2p_sim::Violation>(())
//! ```
//!
//! # The chain
//!
//! [`chain`]: a regtest chain, mined on the spot, and the answers of a node that has it.

// What a world is made of.
pub mod faults;
mod world;

// The network between the hosts.
mod dns;
mod network;
mod pipe;

// What runs on a host.
mod disk;
pub mod hostile;
mod node;
mod program;

// What must hold.
mod invariants;
mod ledger;

// What makes every run the same again.
mod queue;
mod rng;
mod time;
mod trace;

// Worlds to run.
pub mod scenario;

pub mod chain;

pub use disk::Disk;
pub use dns::Dns;
pub use faults::Fault;
pub use invariants::{Rule, Violation};
pub use ledger::Tally;
pub use network::{
    AddressInUse, BrokenPipe, Crash, FIRST_EPHEMERAL_PORT, HostId, Network, Socket, SocketEvent,
};
pub use node::{Node, NodeSpec};
pub use pipe::{Line, Read};
pub use program::Program;
pub use queue::Queue;
pub use rng::Rng;
pub use time::{LocalTime, Skew, Time};
pub use trace::Trace;
pub use world::{World, ip_of};
