//! The other end for peers that dial: a node that answers what it is asked, from a [`Chain`].

use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use p2p_proto::{CloseReason, Config, Event, Side};
use p2p_sim::chain::{Chain, loopback_addresses};

use super::driver::Driver;

/// Addresses that it tells of.
pub(crate) const ADDRESSES: u8 = 7;

/// What one peer did from its first byte to its last.
pub(crate) struct Served {
    pub user_agent: String,
    pub version: i32,
    pub closed: CloseReason,
}

/// Serves the first peer that dials `listener`, in a thread, until it hangs up.
pub(crate) fn serve(listener: TcpListener, config: Config, chain: Chain) -> JoinHandle<Served> {
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut driver = Driver::new(stream, Side::Inbound, config);
        let ready = driver.handshake();
        let addresses = loopback_addresses(ADDRESSES, 18444, 1_700_000_000);
        loop {
            match driver.next_event("a request or the end") {
                Event::Message(message) => {
                    for answer in chain.answers(&message, &addresses) {
                        // A peer that has hung up meanwhile is told of by Closed.
                        let _ = driver.send(&answer);
                    }
                }
                Event::Closed(closed) => {
                    return Served {
                        user_agent: ready.version.user_agent.to_string(),
                        version: ready.version.version,
                        closed,
                    };
                }
                other => panic!("{other:?} where a request was due"),
            }
        }
    })
}
