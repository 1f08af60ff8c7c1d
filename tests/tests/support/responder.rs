//! The other end for peers that dial: a node that answers what it is asked, from a [`Chain`].

use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use p2p_proto::{
    Addr, CloseReason, Config, Event, Headers, Inventory, InventoryItem, InventoryKind, Message,
    NetworkAddress, Services, Side, TimedAddress,
};

use super::chain::Chain;
use super::driver::Driver;

/// Addresses that it tells of: loopback too, so that nobody is led to dial anything real.
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
        loop {
            match driver.next_event("a request or the end") {
                Event::Message(message) => {
                    for answer in answers(&chain, &message) {
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

fn answers(chain: &Chain, message: &Message) -> Vec<Message> {
    match message {
        Message::GetAddr => vec![Message::Addr(addresses())],
        Message::GetHeaders(locator) => {
            let headers = chain.headers_after(locator.hashes());
            vec![Message::Headers(Headers::new(headers).unwrap())]
        }
        Message::Mempool(_) => {
            let items = chain.mempool.iter().map(|tx| InventoryItem {
                kind: InventoryKind::Tx,
                hash: tx.txid(),
            });
            vec![Message::Inv(Inventory::new(items))]
        }
        Message::GetData(wanted) => wanted.iter().map(|item| answer(chain, item)).collect(),
        // Announcements and preferences need no answer.
        _ => Vec::new(),
    }
}

fn answer(chain: &Chain, item: InventoryItem) -> Message {
    let found = if item.kind == InventoryKind::Block {
        chain.block(item.hash).cloned().map(Message::Block)
    } else if item.kind == InventoryKind::Tx {
        chain.tx(item.hash).cloned().map(Message::Tx)
    } else {
        None
    };
    found.unwrap_or_else(|| Message::NotFound(Inventory::new([item])))
}

fn addresses() -> Addr {
    let entries = (1..=ADDRESSES).map(|last| TimedAddress {
        time: 1_700_000_000,
        address: NetworkAddress::new(Services::NETWORK, ([127, 0, 1, last], 18444).into()),
    });
    Addr::new(entries).unwrap()
}
