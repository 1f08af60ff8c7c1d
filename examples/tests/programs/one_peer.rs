//! `blocking_loop` and `codec_only`.

use crate::support::*;

const PROGRAMS: [&str; 2] = ["blocking_loop", "codec_only"];

#[test]
fn they_shake_hands_ping_and_get_headers() {
    for name in PROGRAMS {
        let output = run(name, &["--duration", "60"]);
        assert_contains(
            success(&output),
            &["/bsv-p2p-embedded:0.1.0/", "pong ", "headers: 110"],
        );
    }
}

#[test]
fn programs_get_the_same_from_either() {
    for name in PROGRAMS {
        let lines = objects(&run(name, &["--duration", "60", "--json"]));
        assert_eq!(find(&lines, "message", "headers")["count"], 110);
        find(&lines, "message", "pong");
        let says_who = |line: &&serde_json::Value| line["user_agent"].is_string();
        let said = lines.iter().find(says_who).unwrap();
        assert_eq!(said["user_agent"], "/bsv-p2p-embedded:0.1.0/", "{name}");
        assert_eq!(said["height"], 110, "{name}");
    }
}

#[test]
fn without_answers_they_fail_and_say_why_in_one_line() {
    let (_silent, address) = silent_peer();
    for (name, too_late) in PROGRAMS.into_iter().zip(["timed out", "in time"]) {
        let arguments = ["--connect", &address, "--duration", "1", "--quiet"];
        assert_fails(name, &arguments, too_late);
        let arguments = ["--connect", "127.0.0.1:1", "--quiet"];
        assert_fails(name, &arguments, "127.0.0.1:1: Connection refused");
        assert_fails(name, &["--network", "mainnet"], "--connect");
    }
}

#[test]
fn the_blocking_loop_imports_nothing_of_tokio() {
    let source = include_str!("../../blocking_loop.rs");
    let imports = source.lines().filter(|line| line.starts_with("use "));
    assert!(imports.clone().count() > 5);
    for import in imports {
        assert!(!import.contains("tokio"), "{import}");
    }
}
