//! The log: who, what, how important.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;

use p2p_tokio::{
    ControlEvent, InMemoryPeerStore, LogHandle, LogLevel, Manager, ManagerConfig, ResolveError,
    Resolver, async_trait,
};
use tokio::net::TcpListener;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

use crate::capture::{File, Lines};
use crate::support::*;

#[tokio::test]
async fn test_structured_logging_includes_peer_context() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    let source = peer.frames.get_ref().local_addr().unwrap();
    peer.shake_hands().await;
    let peer_id = node.established().await;
    drop(peer);
    node.lost().await;

    for (message, state) in [
        ("connection accepted", Some("awaiting_handshake")),
        ("handshake complete", None),
        ("connection established", Some("connected")),
        ("connection lost", Some("disconnected")),
    ] {
        let line = lines.one(message);
        assert_eq!(line.field("peer_id"), peer_id.to_string());
        assert_eq!(line.field("peer_address"), source.to_string());
        assert_eq!(line.field("network"), "regtest");
        if let Some(state) = state {
            assert_eq!(line.field("state"), state);
            assert_eq!(line.field("connection_type"), "inbound");
        }
    }
    let lost = lines.one("connection lost");
    assert_eq!(
        (lost.field("reason"), lost.field("initiator")),
        ("eof", "remote")
    );
    assert_eq!(lost.field("error"), "closed by the peer");
}

#[tokio::test]
async fn a_dial_is_followed_from_its_beginning_to_its_end() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut node = Node::fixed(config(), [address]).await;
    let mut peer = RemotePeer::accept(&listener).await;
    peer.shake_hands().await;
    let peer_id = node.established().await;
    node.manager.disconnect_peer(peer_id).await.unwrap();
    node.lost().await;
    let states: Vec<_> = lines
        .all()
        .into_iter()
        .filter(|line| line.fields.contains_key("state"))
        .map(|line| {
            assert_eq!(line.field("peer_id"), peer_id.to_string());
            assert_eq!(line.field("connection_type"), "outbound", "{line:?}");
            (line.level, line.field("state").to_owned())
        })
        .collect();
    let expected = [
        (Level::DEBUG, "connecting"),
        (Level::DEBUG, "awaiting_handshake"),
        (Level::INFO, "connected"),
        (Level::DEBUG, "failed"),
        (Level::INFO, "disconnected"),
    ];
    assert_eq!(
        states,
        expected.map(|(level, state)| (level, state.to_owned()))
    );
    let lost = lines.one("connection lost");
    assert_eq!(
        (lost.field("reason"), lost.field("initiator")),
        ("requested", "local")
    );
}

#[tokio::test]
async fn lines_of_a_connection_are_inside_its_span() {
    let (lines, _guard) = Lines::capture(LevelFilter::TRACE);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    let source = peer.frames.get_ref().local_addr().unwrap();
    peer.shake_hands().await;
    node.established().await;
    peer.barrier(7).await;
    let mut pings = lines.of("message received").into_iter();
    let ping = pings.rfind(|line| line.field("command") == "ping").unwrap();
    assert_eq!(ping.level, Level::TRACE);
    assert_eq!(ping.spans[0].0, "connection");
    assert_eq!(ping.field("peer_address"), source.to_string());
    assert_eq!(ping.field("connection_type"), "inbound");
}

#[tokio::test]
async fn a_connection_is_a_span_and_its_handshake_one_within() {
    let (lines, _guard) = Lines::capture(LevelFilter::INFO);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    let begun = [
        "begin connection",
        "begin connection/handshake",
        "end connection/handshake",
    ];
    assert_eq!(lines.spans(), begun);
    drop(peer);
    node.lost().await;
    node.manager.shutdown().await;
    assert_eq!(lines.spans()[begun.len()..], ["end connection"]);
}

#[tokio::test]
async fn test_connection_events_logged_at_info() {
    let (lines, _guard) = Lines::capture(LevelFilter::INFO);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    drop(peer);
    node.lost().await;
    node.manager.update_config(listening()).await.unwrap();
    node.manager.shutdown().await;
    let messages: Vec<_> = lines
        .all()
        .into_iter()
        .map(|line| (line.level, line.message))
        .collect();
    let expected = [
        "listening",
        "handshake complete",
        "connection established",
        "connection lost",
        "configuration updated",
        "shutting down",
    ];
    assert_eq!(
        messages,
        expected.map(|message| (Level::INFO, message.to_owned()))
    );
}

#[tokio::test]
async fn failures_are_warnings_and_say_who_hung_up() {
    let (lines, _guard) = Lines::capture(LevelFilter::INFO);
    // An IP that no other test listens on: the port stays free.
    let nobody = TcpListener::bind((loopback(25), 0)).await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let mut node = Node::fixed(config(), [address]).await;
    node.failed().await;
    let line = lines.one("connection failed");
    assert_eq!(line.level, Level::WARN);
    assert_eq!(line.field("connection_type"), "outbound");
    assert_eq!(
        (
            line.field("reason"),
            line.field("initiator"),
            line.field("error")
        ),
        ("dial_refused", "remote", "connection refused")
    );
}

/// Knows one name, and takes long over another.
#[derive(Debug)]
struct OneName;

#[async_trait]
impl Resolver for OneName {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match name {
            "good.test" => Ok(vec![loopback(26)]),
            "slow.test" => std::future::pending().await,
            _ => Err(ResolveError::new("no such name")),
        }
    }
}

#[tokio::test]
async fn lines_about_dns_say_of_which_network_they_are() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let mut config = config();
    (config.target_connections, config.min_outbound) = (0, Some(0));
    let seeds = ["good.test", "gone.test", "slow.test"];
    config.dns_seeds = Some(seeds.map(str::to_owned).to_vec());
    config.dns_timeout = std::time::Duration::from_millis(20);
    let manager = Manager::builder(config).resolver(OneName).build().unwrap();
    let mut node = Node::of(manager).await;
    node.control(|event| matches!(event, ControlEvent::PeersDiscovered { .. }).then_some(()))
        .await;
    for (message, seed) in [
        ("seed resolved", "good.test"),
        ("seed not resolved; asked again later", "gone.test"),
        ("seed not resolved in time; asked again later", "slow.test"),
    ] {
        let line = lines.one(message);
        assert_eq!(line.field("seed"), seed);
        assert_eq!(
            (&*line.target, line.field("network")),
            ("p2p_tokio", "regtest")
        );
    }
}

#[tokio::test]
async fn test_errors_logged_at_error_level() {
    let (lines, _guard) = Lines::capture(LevelFilter::ERROR);
    let taken = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    let config = ManagerConfig {
        listener_port: Some(address.port()),
        ..listening()
    };
    let store = Arc::new(InMemoryPeerStore::open(&path).unwrap());
    let mut node = Node::of(Manager::new(config, store).unwrap()).await;
    node.control(|event| matches!(event, ControlEvent::ListenerBindFailed { .. }).then_some(()))
        .await;
    let line = lines.one("cannot listen; tried again later, dialling goes on");
    assert_eq!(
        (line.level, line.field("address")),
        (Level::ERROR, &*address.to_string())
    );
    assert!(line.field("error").contains("in use"), "{line:?}");

    // Where the store's folder was there is a file now.
    drop(folder);
    std::fs::write(path.parent().unwrap(), "").unwrap();
    let banned: SocketAddr = "127.0.0.9:1".parse().unwrap();
    assert!(node.manager.ban_ip(banned.ip()).await.is_err());
    let line = lines.one("peers not stored; tried again later, the network goes on");
    assert_eq!(
        (line.level, line.field("network")),
        (Level::ERROR, "regtest")
    );
    std::fs::remove_file(path.parent().unwrap()).unwrap();
    assert!(lines.all().iter().all(|line| line.level == Level::ERROR));
}

#[tokio::test]
async fn test_log_level_filtering_works() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = LogHandle::new({
        let told = told.clone();
        move |level| told.lock().unwrap().push(level)
    });
    let manager = Manager::builder(config()).log_handle(log).build().unwrap();
    assert_eq!(*told.lock().unwrap(), [], "nobody has started it");
    manager.start().await.unwrap();
    let debug = ManagerConfig {
        log_level: LogLevel::Debug,
        ..config()
    };
    manager.update_config(debug.clone()).await.unwrap();
    // What is refused changes nothing.
    let wrong = ManagerConfig {
        log_level: LogLevel::Trace,
        max_connections: 0,
        ..config()
    };
    manager.update_config(wrong).await.unwrap_err();
    assert_eq!(*told.lock().unwrap(), [LogLevel::Info, LogLevel::Debug]);
}

/// The helper for programs: the level that the configuration says is the level of the log.
#[cfg(feature = "logging")]
#[tokio::test]
async fn update_config_changes_what_is_logged() {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    let (filter, log) = p2p_tokio::logging::filter(LogLevel::Info);
    let lines = Lines::default();
    let subscriber = Registry::default().with(lines.clone().with_filter(filter));
    let _guard = tracing::subscriber::set_default(subscriber);
    let manager = Manager::builder(listening())
        .log_handle(log)
        .build()
        .unwrap();
    let mut node = Node::of(manager).await;
    let address = node.address().await;
    let accept = async |node: &mut Node| {
        let mut peer = RemotePeer::dial(address, 2).await;
        peer.shake_hands().await;
        node.established().await;
    };
    accept(&mut node).await;
    assert_eq!(lines.of("connection accepted").len(), 0);
    assert_eq!(lines.of("connection established").len(), 1);
    let set = async |node: &Node, log_level| {
        let config = ManagerConfig {
            log_level,
            ..listening()
        };
        node.manager.update_config(config).await.unwrap();
    };
    set(&node, LogLevel::Debug).await;
    accept(&mut node).await;
    assert_eq!(lines.of("connection accepted").len(), 1);
    assert_eq!(lines.of("connection established").len(), 2);
    set(&node, LogLevel::Error).await;
    accept(&mut node).await;
    assert_eq!(lines.of("connection accepted").len(), 1);
    assert_eq!(lines.of("connection established").len(), 2);
}

#[tokio::test]
async fn no_agent_can_forge_a_line_or_steer_a_terminal() {
    let file = File::default();
    let guard = file.log(LevelFilter::TRACE);
    let config = ManagerConfig {
        banned_user_agents: vec!["*forged*".into()],
        ..listening()
    };
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let long = format!("/{}/", "\u{1b}".repeat(254));
    let agents = [
        "/x/\n2026-01-01T00:00:00Z ERROR p2p_tokio: harmless\r\n",
        "/x/\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}",
        "/\" peer_id=1 error=\"none/\\n",
        &long,
        "/forged\n/",
    ];
    for agent in agents {
        let agent: &'static str = agent.to_owned().leak();
        let mut peer = RemotePeer::dial(address, 2).await;
        peer.send(version(agent)).await;
        peer.send(p2p_tokio::Message::Verack).await;
        peer.end_or(&mut node).await;
    }
    node.manager.shutdown().await;
    drop(guard);
    let text = file.text();
    let is_shown = |char: char| char == '\n' || (' '..='~').contains(&char);
    assert!(text.chars().all(is_shown), "{text}");
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (_time, level) = (words.next(), words.next().unwrap());
        let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
        assert!(levels.contains(&level), "{line}");
        assert_ne!(level, "ERROR", "{line}");
        assert!(line.len() < 2000, "{} bytes: {line}", line.len());
    }
    assert!(
        text.contains(r#"user_agent="/x/\\n2026-01-01T00:00:00Z ERROR"#),
        "{text}"
    );
    let banned = r#"reason="banned_user_agent" error="/forged\\n/" until="#;
    assert!(text.contains(banned), "{text}");
    // Quotes of its own are escaped, so that it cannot look like other fields.
    assert!(
        text.contains(r#"user_agent="/\\\" peer_id=1 error=\\\"none/"#),
        "{text}"
    );
    // 256 characters of what is shown, the slash in front included.
    let cut = r"\\x1b".repeat(63) + r"\\x1...";
    assert!(text.contains(&format!("user_agent=\"/{cut}\"")), "{text}");
}

impl RemotePeer {
    /// Waits until it is admitted or turned away, and hangs up.
    async fn end_or(self, node: &mut Node) {
        node.control(|event| match event {
            ControlEvent::ConnectionEstablished { .. } | ControlEvent::PeerBanned { .. } => {
                Some(())
            }
            _ => None,
        })
        .await;
    }
}
