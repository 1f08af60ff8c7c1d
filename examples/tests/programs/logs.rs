//! The log of the programs that have a manager.

use crate::support::*;

#[test]
fn they_log_from_the_level_that_they_are_told() {
    for name in [
        "simple_p2p_client",
        "fixed_peer_connection",
        "event_monitor",
    ] {
        // Nobody listens there.
        let mut arguments = vec!["--network", "regtest", "--connect", "127.0.0.1:1"];
        arguments.extend(["--duration", "1"]);
        let err = |arguments: &[&str]| text(&run(name, arguments).stderr).to_owned();
        let silent = err(&arguments);
        assert!(!silent.contains("WARN"), "{name}: {silent}");
        arguments.extend(["--log-level", "warn"]);
        let told = err(&arguments);
        let line = told.lines().find(|line| line.contains("connection failed"));
        let line = line.unwrap_or_else(|| panic!("{name}: {told}"));
        assert_contains(line, &[" WARN ", "p2p_tokio: ", "network=regtest"]);
        assert!(!told.contains("INFO"), "{name}: {told}");
    }
}
