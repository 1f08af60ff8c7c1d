//! What can run on a host.

use std::fmt::Debug;

use crate::network::{Network, Socket, SocketEvent};
use crate::time::Time;

/// A program on a host: [`Node`](crate::Node) is one, the [hostile](crate::hostile) ones are, and
/// whatever else is to be met on a network can be.
///
/// It gets every event of its sockets, and is woken when it wants to be. All that it does it does
/// through the [`Network`], whose time and chance are the only ones there are.
pub trait Program: Debug {
    /// The host is up.
    fn start(&mut self, net: &mut Network);

    /// Something happened to a socket.
    fn handle(&mut self, net: &mut Network, socket: Socket, event: SocketEvent);

    /// The time that [`wake_at`](Self::wake_at) gave has come.
    fn wake(&mut self, net: &mut Network);

    /// When to be woken.
    fn wake_at(&self) -> Option<Time>;
}
