use super::*;
use p2p_proto::{Limits, NetworkAddress, Version};

/// A configuration that differs from the defaults in some fields.
fn with(change: impl FnOnce(&mut ManagerConfig)) -> ManagerConfig {
    let mut config = ManagerConfig::default();
    change(&mut config);
    config
}

fn parse(text: &str) -> Result<ManagerConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn test_config_defaults() {
    let config = ManagerConfig::default();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.network, Network::Mainnet);
    assert_eq!((config.target_connections, config.max_connections), (8, 20));
    assert_eq!(config.min_outbound(), 4);
    assert_eq!(
        (config.max_pending_inbound, config.max_over_capacity),
        (64, 16)
    );
    assert_eq!(
        config.user_agent,
        concat!("/bsv-p2p:", env!("CARGO_PKG_VERSION"), "/")
    );
    assert_eq!(config.services, Services::NONE);
    assert_eq!(config.event_channel_capacity, 1000);
    assert_eq!(config.event_channel_bytes, 64 * 1024 * 1024);
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.service_name, "bsv-p2p-manager");
    assert!(!config.enable_listener && !config.enable_telemetry);

    let connection = &config.connection;
    assert_eq!(connection.backoff_multiplier, 2.0);
    assert_eq!((connection.max_retries, connection.max_restarts), (10, 3));
    assert_eq!(connection.min_protocol_version, 31800);
    assert_eq!(connection.min_payload_rate, 1024);
    assert_eq!(connection.stream_above, 4 * 1024 * 1024);
    assert_eq!(
        u64::from(connection.max_message_bytes),
        Limits::DEFAULT.message
    );
    for (duration, secs) in [
        (config.dns_interval, 3600),
        (config.dns_timeout, 5),
        (config.store_save_interval, 300),
        (config.listener_retry_interval, 30),
        (config.ban_duration.unwrap(), 86_400),
        (config.inaccessible_retry, 3600),
        (connection.connect_timeout, 5),
        (connection.handshake_timeout, 60),
        (connection.ping_interval, 60),
        (connection.ping_timeout, 120),
        (connection.initial_backoff, 5),
        (connection.max_backoff, 600),
        (connection.restart_window, 3600),
    ] {
        assert_eq!(duration.as_secs_f64(), f64::from(secs));
    }
}

#[test]
fn defaults_follow_the_network() {
    for (network, port, per_ip, seeds) in [
        ("mainnet", 8333, 8, 3),
        ("testnet", 18333, 8, 3),
        ("stn", 9333, 8, 2),
        ("regtest", 18444, usize::MAX, 0),
        ("custom:0d01090c:18555", 18555, usize::MAX, 0),
    ] {
        let config = parse(&format!("network = '{network}'")).unwrap();
        assert_eq!(config, ManagerConfig::new(network.parse().unwrap()));
        assert_eq!(config.validate(), Ok(()), "{network}");
        assert_eq!(config.default_port(), port, "{network}");
        assert_eq!(config.listener_port(), port, "{network}");
        assert_eq!(config.max_connections_per_ip(), per_ip, "{network}");
        assert_eq!(config.dns_seeds().len(), seeds, "{network}");
        assert_eq!(config.allows_private_addresses(), per_ip > 8, "{network}");
        assert_eq!(config.protocol(0).network, config.network);
    }
}

#[test]
fn what_is_said_goes_before_the_network() {
    let config = parse(
        r#"
        default_port = 1000
        dns_seeds = ["seed.example.org"]
        max_connections_per_ip = 3
        min_outbound = 7
        allow_private_addresses = true
        enable_listener = true
        listener_address = "::1"
        "#,
    )
    .unwrap();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.dns_seeds(), ["seed.example.org"]);
    assert_eq!(config.max_connections_per_ip(), 3);
    assert_eq!(config.min_outbound(), 7);
    assert!(config.allows_private_addresses());
    assert_eq!(config.listen_on(), Some("[::1]:1000".parse().unwrap()));

    let config = parse("enable_listener = true\nlistener_port = 0\ndns_seeds = []").unwrap();
    assert_eq!(config.listen_on(), Some("0.0.0.0:0".parse().unwrap()));
    assert!(config.dns_seeds().is_empty());
    assert_eq!(ManagerConfig::default().listen_on(), None);
}

#[test]
fn test_target_must_not_exceed_max() {
    for (target, max, valid) in [(8, 20, true), (20, 20, true), (21, 20, false), (0, 1, true)] {
        let config = with(|c| (c.target_connections, c.max_connections) = (target, max));
        let expected = match valid {
            true => Ok(()),
            false => Err(ConfigError::InvalidConnectionLimits { target, max }),
        };
        assert_eq!(config.validate(), expected);
    }
}

#[test]
fn small_limits_need_no_word_about_outbound_connections() {
    let config = with(|c| (c.target_connections, c.max_connections) = (1, 2));
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.min_outbound(), 1);
}

#[test]
fn test_config_validation_rejects_invalid_limits() {
    for (field, change) in [
        (
            "max_connections",
            (|c| (c.target_connections, c.max_connections) = (0, 0)) as fn(&mut ManagerConfig),
        ),
        ("min_outbound", |c| c.min_outbound = Some(21)),
        ("max_connections_per_ip", |c| {
            c.max_connections_per_ip = Some(0)
        }),
        ("max_pending_inbound", |c| c.max_pending_inbound = 0),
        ("default_port", |c| c.default_port = Some(0)),
        ("network", |c| c.network = Network::custom([1, 2, 3, 4], 0)),
        ("dns_seeds", |c| c.dns_seeds = Some(vec![String::new()])),
        ("dns_seeds", |c| {
            c.dns_seeds = Some(vec!["a.org".into(), "b.org:53".into()])
        }),
        ("dns_seeds", |c| c.dns_seeds = Some(vec!["a".repeat(254)])),
        ("dns_servers", |c| {
            c.dns_servers = vec!["1.1.1.1:0".parse().unwrap()]
        }),
        ("dns_interval", |c| c.dns_interval = Duration::ZERO),
        ("dns_timeout", |c| c.dns_timeout = Duration::ZERO),
        ("store_save_interval", |c| {
            c.store_save_interval = Duration::ZERO
        }),
        ("listener_retry_interval", |c| {
            c.listener_retry_interval = Duration::ZERO
        }),
        ("ban_duration", |c| c.ban_duration = Some(Duration::ZERO)),
        ("ban_duration", |c| c.ban_duration = Some(Duration::MAX)),
        ("inaccessible_retry", |c| {
            c.inaccessible_retry = Duration::ZERO
        }),
        ("user_agent", |c| c.user_agent = "a".repeat(257)),
        ("user_agent", |c| c.user_agent = "/é/".into()),
        ("user_agent", |c| c.user_agent = "/a\n/".into()),
        ("start_height", |c| c.start_height = -1),
        ("event_channel_capacity", |c| c.event_channel_capacity = 0),
        ("event_channel_capacity", |c| {
            c.event_channel_capacity = (1 << 20) + 1
        }),
        ("event_channel_bytes", |c| {
            c.event_channel_bytes = (4 << 20) - 1
        }),
        ("service_name", |c| c.service_name.clear()),
        ("telemetry_endpoint", |c| {
            c.telemetry_endpoint = Some("localhost:4317".into())
        }),
        ("telemetry_endpoint", |c| {
            c.telemetry_endpoint = Some("http://".into())
        }),
        ("telemetry_endpoint", |c| {
            c.telemetry_endpoint = Some("https://collector.example.org:4317".into())
        }),
        ("connection.connect_timeout", |c| {
            c.connection.connect_timeout = Duration::ZERO
        }),
        ("connection.handshake_timeout", |c| {
            c.connection.handshake_timeout = Duration::ZERO
        }),
        ("connection.ping_interval", |c| {
            c.connection.ping_interval = Duration::ZERO
        }),
        ("connection.ping_timeout", |c| {
            c.connection.ping_timeout = Duration::ZERO
        }),
        ("connection.ping_timeout", |c| {
            c.connection.ping_timeout = Duration::MAX
        }),
        ("connection.initial_backoff", |c| {
            c.connection.initial_backoff = Duration::ZERO
        }),
        ("connection.initial_backoff", |c| {
            c.connection.initial_backoff = Duration::from_secs(601);
        }),
        ("connection.max_backoff", |c| {
            c.connection.max_backoff = Duration::MAX
        }),
        ("connection.backoff_multiplier", |c| {
            c.connection.backoff_multiplier = 0.99
        }),
        ("connection.backoff_multiplier", |c| {
            c.connection.backoff_multiplier = f64::NAN
        }),
        ("connection.backoff_multiplier", |c| {
            c.connection.backoff_multiplier = f64::INFINITY;
        }),
        ("connection.restart_window", |c| {
            c.connection.restart_window = Duration::ZERO
        }),
        ("connection.restart_window", |c| {
            c.connection.restart_window = Duration::MAX
        }),
        ("connection.min_payload_rate", |c| {
            c.connection.min_payload_rate = 0
        }),
        ("connection.min_protocol_version", |c| {
            c.connection.min_protocol_version = 70017
        }),
        ("connection.min_protocol_version", |c| {
            c.connection.min_protocol_version = -1
        }),
        ("connection.max_message_bytes", |c| {
            c.connection.max_message_bytes = (1 << 20) - 1;
        }),
        ("connection.stream_above", |c| {
            c.connection.stream_above = 4095
        }),
        ("connection.send_queue_bytes", |c| {
            c.connection.send_queue_bytes = 0
        }),
    ] {
        let error = with(change).validate().unwrap_err();
        let text = error.to_string();
        let ConfigError::InvalidField {
            field: named,
            rule,
            value,
        } = error
        else {
            panic!("{field}: {text}");
        };
        assert_eq!(named, field, "{text}");
        for part in [field, rule, value.as_str()] {
            assert!(
                !part.is_empty() && text.contains(part),
                "{part:?} in {text:?}"
            );
        }
        assert!(!text.contains('\n'), "{text:?}");
    }
}

#[test]
fn the_limits_themselves_are_valid() {
    for change in [
        (|c| c.min_outbound = Some(20)) as fn(&mut ManagerConfig),
        |c| c.max_over_capacity = 0,
        |c| c.ban_duration = None,
        |c| c.user_agent = "a".repeat(256),
        |c| c.user_agent.clear(),
        |c| c.dns_seeds = Some(vec!["a".repeat(253)]),
        |c| c.event_channel_capacity = 1 << 20,
        |c| c.event_channel_bytes = 4 << 20,
        |c| c.telemetry_endpoint = Some("http://collector.example.org:4317".into()),
        |c| c.connection.ping_timeout = Duration::from_secs(100 * 365 * 86_400),
        |c| c.connection.initial_backoff = c.connection.max_backoff,
        |c| c.connection.backoff_multiplier = 1.0,
        |c| c.connection.backoff_multiplier = f64::MAX,
        |c| (c.connection.max_restarts, c.connection.restart_window) = (0, Duration::ZERO),
        |c| c.connection.max_retries = 0,
        |c| c.connection.min_protocol_version = 70016,
        |c| c.connection.max_message_bytes = 1 << 20,
        |c| c.connection.stream_above = 4096,
    ] {
        let config = with(change);
        assert_eq!(config.validate(), Ok(()), "{config:#?}");
    }
}

#[test]
fn an_agent_that_would_be_taken_for_another_chains_is_refused() {
    for (user_agent, pattern) in [
        ("/my-BCH-wallet:1.0/", "bch"),
        ("/Cashew:1.0/", "cash"),
        ("/abc/", "abc"),
        ("/Unlimited:1.0/", "unlimited"),
    ] {
        assert_eq!(
            with(|c| c.user_agent = user_agent.into()).validate(),
            Err(ConfigError::BannedOwnUserAgent {
                user_agent: user_agent.into(),
                pattern
            })
        );
    }
}

#[test]
fn an_update_may_change_all_but_what_only_a_restart_can() {
    let running = ManagerConfig::default();
    for (field, change) in [
        (
            "network",
            (|c| c.network = Network::Stn) as fn(&mut ManagerConfig),
        ),
        ("peer_store_file_path", |c| {
            c.peer_store_file_path = Some("peers.json".into())
        }),
        ("event_channel_capacity", |c| c.event_channel_capacity += 1),
        ("event_channel_bytes", |c| c.event_channel_bytes += 1),
    ] {
        let new = with(change);
        let refused = Err(ConfigError::ImmutableField { field });
        assert_eq!(running.check_update(&new), refused);
        assert_eq!(new.check_update(&running), refused);
        assert_eq!(new.check_update(&new), Ok(()));
    }
    for change in [
        (|c| c.target_connections = 12) as fn(&mut ManagerConfig),
        |c| c.max_connections = 8,
        |c| (c.enable_listener, c.listener_port) = (true, Some(1)),
        |c| c.banned_user_agents = vec!["*spy*".into()],
        |c| c.connection.ping_interval = Duration::from_secs(1),
    ] {
        assert_eq!(running.check_update(&with(change)), Ok(()));
    }
    let invalid = with(|c| c.max_pending_inbound = 0);
    assert_eq!(running.check_update(&invalid), invalid.validate());
}

#[test]
fn toml_round_trips() {
    let full = with(|c| {
        c.network = Network::custom([0, 0, 0, 0], 9333);
        c.min_outbound = Some(1);
        c.dns_seeds = Some(vec!["seed.example.org".into()]);
        c.dns_servers = vec!["1.1.1.1:53".parse().unwrap()];
        c.default_port = Some(1);
        c.peer_store_file_path = Some("peers.json".into());
        c.listener_address = "::".parse().unwrap();
        c.listener_port = Some(0);
        c.banned_user_agents = vec!["*\"spy\"?".into()];
        c.chain_policy = ChainPolicy::Strict;
        c.ban_duration = None;
        c.dial_from = Some("10.0.0.1".parse().unwrap());
        c.services = Services::NETWORK;
        c.log_level = LogLevel::Trace;
        c.telemetry_endpoint = Some("http://localhost:4317".into());
        c.connection.backoff_multiplier = 1.5;
        c.connection.connect_timeout = Duration::from_millis(1_250);
    });
    for config in [ManagerConfig::default(), full] {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
        let json = serde_json::to_string(&config).unwrap();
        let back: ManagerConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(back, config, "{json}");
    }
    assert_eq!(parse("").unwrap(), ManagerConfig::default());
}

#[test]
fn a_file_with_a_mistake_is_refused_and_the_mistake_is_named() {
    for (text, named) in [
        ("target_conections = 4", "`target_conections`"),
        ("[connection]\nping_intervall = '5s'", "`ping_intervall`"),
        ("target_connections = -1", "-1"),
        ("network = 'custom:0d01:1'", "custom:0d01:1"),
        ("dns_timeout = 'soon'", "soon"),
        ("log_level = 'loud'", "loud"),
        ("chain_policy = 'lax'", "lax"),
        ("listener_address = 'here'", "listener_address"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn numbers_may_leave_out_what_is_clear() {
    let config = parse(
        "log_level = 'debug'
         ban_duration = 'forever'
         dns_timeout = 2
         [connection]
         backoff_multiplier = 3",
    )
    .unwrap();
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(config.ban_duration, None);
    assert_eq!(config.dns_timeout, Duration::from_secs(2));
    assert_eq!(config.connection.backoff_multiplier, 3.0);
}

#[test]
fn every_setting_reaches_the_protocol() {
    let config = with(|c| {
        c.network = Network::Stn;
        c.user_agent = "/wallet:1.0/".into();
        c.services = Services::NETWORK;
        c.start_height = 7;
        c.relay = false;
        c.banned_user_agents = vec!["*spy*".into()];
        c.connection = ConnectionConfig {
            handshake_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_secs(3),
            min_payload_rate: 4,
            min_protocol_version: 60_000,
            max_message_bytes: 5 << 20,
            stream_above: 6 << 20,
            send_queue_bytes: 7,
            ..ConnectionConfig::default()
        };
    });
    let protocol = config.protocol(9);
    assert_eq!(protocol.network, Network::Stn);
    assert_eq!(protocol.user_agent, UserAgent::from_static("/wallet:1.0/"));
    assert_eq!(protocol.services, Services::NETWORK);
    assert_eq!((protocol.start_height, protocol.relay), (7, false));
    assert_eq!(protocol.listen_port, 9);
    assert_eq!(protocol.handshake_timeout.as_secs(), 1);
    assert_eq!(protocol.ping_interval.as_secs(), 2);
    assert_eq!(protocol.ping_timeout.as_secs(), 3);
    assert_eq!(protocol.min_payload_rate, 4);
    assert_eq!(protocol.min_protocol_version, 60_000);
    assert_eq!(protocol.limits.message, 5 << 20);
    assert_eq!(protocol.limits.block, Limits::DEFAULT.block);
    assert_eq!(protocol.stream_above, 6 << 20);
    assert_eq!(protocol.send_queue_bytes, 7);

    let admits = |agent: &'static str| {
        let mut version = Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED);
        version.user_agent = UserAgent::from_static(agent);
        protocol.policy.check(&version).is_ok()
    };
    assert!(admits("/Bitcoin SV:1.2.2/") && !admits("/Spy:1/") && !admits("/BCH:1/"));
}
