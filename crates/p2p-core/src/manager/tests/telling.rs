//! What peers tell us of others, and what we tell them.

use p2p_proto::{Message, Services, TimedAddress};

use super::*;

fn named(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<TimedAddress> {
    let entry = |address| TimedAddress {
        time: 0,
        address: NetworkAddress::new(Services::NONE, address),
    };
    addresses.into_iter().map(entry).collect()
}

/// Different public addresses, each of a network of its own.
fn public(count: u32) -> impl Iterator<Item = SocketAddr> {
    (0..count)
        .map(|n| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0001 + (n << 16)), 8333)))
}

/// Of a manager of the public network; this many of the peers that it knows are connected.
fn public_story(known: u32, connected: usize) -> Story {
    let mut config = ManagerConfig::new(Network::Mainnet);
    (config.target_connections, config.dns_seeds) = (connected, Some(Vec::new()));
    let known =
        public(known).map(|address| Peer::new(Network::Mainnet, address, PeerSource::Dns, wall(0)));
    let mut story = Story::new(config, OperatingMode::Normal, known.collect());
    story.establish_all();
    story
}

/// What the last connection that asked was told; nothing if it was told nothing.
fn told(story: &mut Story, conn: ConnId) -> Option<Vec<TimedAddress>> {
    story.others.clear();
    story.input(Input::AddressesWanted { conn });
    story.others.iter().find_map(|action| match action {
        Action::Send {
            conn: to,
            message: Message::Addr(addr),
        } if *to == conn => Some(addr.iter().collect()),
        _ => None,
    })
}

fn addresses(told: &[TimedAddress]) -> BTreeSet<SocketAddr> {
    told.iter()
        .map(|entry| entry.address.socket_addr())
        .collect()
}

fn asks_for_addresses(action: &Action) -> bool {
    matches!(
        action,
        Action::Send {
            message: Message::GetAddr,
            ..
        }
    )
}

#[test]
fn one_connection_names_a_thousand_at_once_and_one_more_in_ten_seconds() {
    let mut story = public_story(1, 1);
    let conn = *story.manager.connections.keys().next().unwrap();
    let mut fresh = public(5000).skip(1);
    let mut learned = |story: &mut Story, count: usize| {
        let before = story.manager.book.len();
        let addresses = named(fresh.by_ref().take(count));
        story.input(Input::Gossip { conn, addresses });
        story.manager.book.len() - before
    };
    assert_eq!(learned(&mut story, 1100), 1000);
    assert_eq!(learned(&mut story, 100), 0);
    story.pass(Duration::from_secs(9));
    assert_eq!(learned(&mut story, 100), 0);
    story.pass(Duration::from_secs(21));
    assert_eq!(learned(&mut story, 100), 3);
    story.pass(Duration::from_secs(1_000_000));
    assert_eq!(learned(&mut story, 1100), 1000, "and never more at once");
}

#[test]
fn peers_cannot_make_us_dial_our_own_network() {
    let mut story = public_story(1, 1);
    let conn = *story.manager.connections.keys().next().unwrap();
    let private = [
        "10.0.0.1:8333",
        "192.168.0.1:8333",
        "[::1]:8333",
        "1.2.3.4:0",
    ];
    let addresses = named(private.map(|text| text.parse().unwrap()));
    story.input(Input::Gossip { conn, addresses });
    assert_eq!(story.manager.book.len(), 1);
}

#[test]
fn a_peer_that_we_dialled_is_asked_for_addresses_while_few_are_known() {
    for (known, asked) in [(999, 1), (1000, 0)] {
        let mut story = public_story(known, 1);
        assert_eq!(story.count(asks_for_addresses), asked, "of {known}");
        story.accept_established("9.9.9.9:4000");
        assert_eq!(
            story.count(asks_for_addresses),
            asked,
            "none that dialled us"
        );
    }
}

#[test]
fn who_dialled_us_is_told_of_others_once_and_nobody_else_is() {
    let mut story = public_story(100, 1);
    let outbound = *story.manager.connections.keys().next().unwrap();
    assert_eq!(told(&mut story, outbound), None);
    let inbound = story.accept_established("9.9.9.9:4000");
    assert_eq!(told(&mut story, inbound).unwrap().len(), 23);
    assert_eq!(told(&mut story, inbound), None);
}

#[test]
fn who_asks_again_and_again_is_told_of_the_same_for_a_day() {
    let mut story = public_story(100, 0);
    let ask = |story: &mut Story| {
        let conn = story.accept_established("9.9.9.9:4000");
        let told = addresses(&told(story, conn).unwrap());
        story.closed(conn, EOF);
        told
    };
    let first = ask(&mut story);
    for _ in 0..10 {
        story.pass(Duration::from_secs(3600));
        assert_eq!(ask(&mut story), first);
    }
    story.pass(Duration::from_secs(24 * 3600));
    assert_ne!(ask(&mut story), first);
}

#[test]
fn what_is_told_of_a_peer_is_when_it_was_seen_and_of_one_never_reached_five_days_less() {
    let mut story = public_story(1, 1);
    story.pass(Duration::from_secs(3000));
    let asks = |story: &mut Story| {
        let conn = story.accept_established("9.9.9.9:4000");
        let time = told(story, conn).unwrap()[0].time;
        story.closed(conn, EOF);
        u64::from(time) * 1000
    };
    assert_eq!(asks(&mut story), wall(3000).as_millis(), "it is connected");
    let mut story = public_story(1, 0);
    story.pass(Duration::from_secs(3000));
    let five_days = 5 * 24 * 3600 * 1000;
    assert_eq!(asks(&mut story), wall(0).as_millis() - five_days);
}

#[test]
fn the_seeds_fill_no_more_of_the_book_than_any_other_source() {
    let mut story = public_story(0, 0);
    let addresses = public(5000).collect();
    story.input(Input::Resolved { addresses });
    assert_eq!(story.manager.book.len(), 4096);
}
