//! `event_monitor`.

use crate::support::*;

/// A node that waits to be dialled.
const LISTENS: [&str; 6] = [
    "--network",
    "regtest",
    "--listen",
    "127.0.0.1:0",
    "--duration",
    "60",
];

#[test]
fn a_peer_that_dials_is_seen_with_all_that_it_says() {
    let mut monitor = Running::start("event_monitor", &LISTENS);
    let line = monitor.line_with("listening on ");
    let address = line.rsplit(' ').next().unwrap();
    let client = [
        "--network",
        "regtest",
        "--connect",
        address,
        "--duration",
        "60",
    ];
    let mut client = Running::start("simple_p2p_client", &client);
    for part in [
        "  accepted",
        "  handshake complete: /bsv-p2p:0.1.0/",
        "  established, inbound",
    ] {
        monitor.line_with(part);
    }
    client.line_with("pong ");
    client.interrupt();
    monitor.line_with("  lost: closed by the peer");
    // The rest is told at the end.
    let lines = monitor.interrupt();
    let counts = lines.iter().filter(|line| line.contains("messages: "));
    let counts = counts.cloned().collect::<Vec<_>>().join("\n");
    assert_contains(
        &counts,
        &["1 getaddr", "1 getheaders", "1 ping", "1 protoconf"],
    );
}

#[test]
fn programs_get_counts_by_command() {
    let mut monitor = Running::start("event_monitor", &["--duration", "60", "--json"]);
    monitor.line_with("\"protoconf\"");
    let lines: Vec<_> = monitor
        .interrupt()
        .iter()
        .map(|line| object(line))
        .collect();
    let counts: Vec<_> = lines
        .iter()
        .filter_map(|line| line["counts"].as_object())
        .collect();
    let total = |command: &str| -> u64 {
        let of_command = counts.iter().filter_map(|counts| counts.get(command));
        of_command.map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!((total("protoconf"), total("sendheaders")), (1, 1));
    find(&lines, "event", "ConnectionEstablished");
    find(&lines, "event", "ShuttingDown");
}

/// On a terminal, for which `script` stands.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_a_live_view_and_its_screen_back() {
    let monitor = program("event_monitor");
    let monitor = format!("{} --duration 2", monitor.get_program().to_str().unwrap());
    let mut script = std::process::Command::new("script");
    let script = script.args(["-qec", &monitor, "/dev/null"]);
    let output = script
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}");
    let (enter, leave) = ("\u{1b}[?1049h\u{1b}[?25l", "\u{1b}[?25h\u{1b}[?1049l");
    assert!(out.contains(enter) && out.ends_with(leave), "{out:?}");
    let screens: Vec<_> = out.split("\u{1b}[H").collect();
    let last = screens.last().unwrap();
    assert_contains(
        last,
        &[
            "1 of 1 peers: ",
            "version 1",
            "LATEST EVENTS",
            "  connected ",
            "  established, outbound",
        ],
    );
    // No line of it scrolls.
    assert!(last.lines().count() < 24, "{last}");
    assert!(screens.len() > 2, "{out}");
}

#[test]
fn who_has_too_few_peers_is_told_why() {
    let arguments = [
        "--network",
        "regtest",
        "--connect",
        "127.0.0.1:1",
        "--duration",
        "60",
    ];
    let mut monitor = Running::start("event_monitor", &arguments);
    monitor.line_with("failed: connection refused");
    let line = monitor.line_with("0 of 1 peers: ");
    assert_contains(&line, &["1 in backoff until "]);

    let mut monitor = Running::start("event_monitor", &[&arguments[..], &["--json"]].concat());
    let line = object(&monitor.line_with("\"explanation\""));
    let explanation = &line["explanation"];
    assert_eq!(
        (&explanation["wanted"], &explanation["connected"]),
        (&1.into(), &0.into())
    );
    assert!(explanation["next_in"].as_f64().unwrap() < 60.0);
}
