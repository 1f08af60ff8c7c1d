//! What can run on a host.

use std::fmt::Debug;

use crate::network::{Network, Socket, SocketEvent};
use crate::time::Time;

/// A program on a host: [`Node`](crate::Node) is one, the [hostile](crate::hostile) ones are, and
/// whatever else is to be met on a network can be.
///
/// It gets every event of its sockets, and is woken when it wants to be. All that it does it does
/// through the [`Network`], whose time and chance are the only ones there are.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::Duration;
/// use p2p_sim::{Network, Program, Read, Socket, SocketEvent, Time, World};
///
/// /// Sends back what it gets, and dials one other to begin with.
/// #[derive(Debug)]
/// struct Echo {
///     host: p2p_sim::HostId,
///     address: SocketAddr,
///     other: Option<SocketAddr>,
/// }
///
/// impl Program for Echo {
///     fn start(&mut self, net: &mut Network) {
///         net.listen(self.host, self.address).expect("nobody else is here");
///         if let Some(other) = self.other {
///             net.dial(self.host, self.address.ip(), other);
///         }
///     }
///
///     fn handle(&mut self, net: &mut Network, socket: Socket, event: SocketEvent) {
///         match event {
///             SocketEvent::Incoming { .. } => net.accept(socket),
///             SocketEvent::Connected => drop(net.write(socket, &b"hello".as_slice().into())),
///             SocketEvent::Readable => match net.read(socket) {
///                 Read::Data(bytes) => {
///                     net.note(self.host, format_args!("got {} bytes", bytes.len()));
///                     let _ = net.write(socket, &bytes);
///                 }
///                 Read::Nothing => {}
///                 Read::Eof | Read::Reset => net.close(socket),
///             },
///             SocketEvent::Refused | SocketEvent::Writable => {}
///         }
///     }
///
///     fn wake(&mut self, _: &mut Network) {}
///
///     fn wake_at(&self) -> Option<Time> {
///         None
///     }
/// }
///
/// let mut world = World::new(1);
/// let mut other = None;
/// for _ in 0..2 {
///     world.add_program(|host, ip| {
///         let address = SocketAddr::new(ip, 7);
///         let other = other.replace(address);
///         Box::new(Echo { host, address, other })
///     });
/// }
/// world.run_for(Duration::from_secs(10))?;
/// assert!(world.net.trace.count() > 50);
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
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
