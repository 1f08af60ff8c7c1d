//! When everything fails.

use super::*;

const HANGS: CloseReason = CloseReason::HandshakeTimeout;

/// A manager that made many dials at once, all of which have just failed.
fn outage() -> Story {
    let mut config = config();
    (config.target_connections, config.max_connections) = (20, 20);
    let known = (0..40).map(|n| peer(n, PeerStatus::Unknown)).collect();
    let mut story = Story::new(config, OperatingMode::Normal, known);
    assert_eq!(story.dials.len(), 20);
    while let Some((conn, _)) = story.dials.pop() {
        story.fail(conn);
    }
    assert!(story.manager.explain().outage);
    story
}

#[test]
fn a_line_that_takes_connections_and_says_nothing_is_an_outage() {
    for reason in [EOF, HANGS] {
        let mut story = Story::with_peers(30);
        while story.now < story.start + Duration::from_secs(3600) {
            for (conn, _) in std::mem::take(&mut story.dials) {
                story.connected(conn);
                story.closed(conn, reason.clone());
            }
            story.pass(Duration::from_secs(10));
        }
        assert!(story.manager.explain().outage, "{reason}");
        let written_off = story.manager.peer_count(PeerStatus::Inaccessible);
        assert_eq!(written_off, 7, "before it was noticed, {reason}");
    }
}

#[test]
fn a_probe_that_is_cut_off_changes_nothing_about_its_peer() {
    let mut story = outage();
    story.pass(Duration::from_secs(1));
    let (conn, at) = story.dials.pop().expect("a probe");
    let before = story.manager.explain_peer(at).unwrap();
    story.connected(conn);
    story.closed(conn, HANGS);
    let after = story.manager.explain_peer(at).unwrap();
    assert_eq!(after.peer.status, before.peer.status);
    assert_eq!(after.retries, before.retries);
    story.pass(Duration::from_secs(2));
    assert_ne!(story.dialled(), [at], "others are probed first");
}

#[test]
fn a_peer_that_answers_in_an_outage_is_judged_as_ever() {
    let mut story = outage();
    story.pass(Duration::from_secs(1));
    let (conn, at) = story.dials.pop().expect("a probe");
    story.connected(conn);
    let (version, least) = (1, 31_800);
    story.closed(conn, CloseReason::ObsoleteVersion { version, least });
    let status = story.manager.explain_peer(at).unwrap().peer.status;
    assert_eq!(status, PeerStatus::Inaccessible);
}

#[test]
fn what_was_under_way_when_an_outage_began_was_no_probe() {
    let mut story = outage();
    for pause in [1, 2, 4, 8] {
        story.pass(Duration::from_secs(pause) - Duration::from_millis(1));
        assert_eq!(story.dialled(), [], "{pause} s");
        story.pass(Duration::from_millis(1));
        let (conn, _) = story.dials.pop().expect("a probe");
        story.fail(conn);
    }
}
