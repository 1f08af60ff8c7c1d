//! The end.

use super::*;

#[test]
fn shutdown_closes_everything_and_says_when_it_is_done() {
    let mut story = Story::with_peers(5);
    story.establish_all();
    story.command(Command::Shutdown);
    assert_eq!(story.closes.len(), 3);
    let stopped = |story: &Story| {
        story
            .others
            .iter()
            .any(|action| matches!(action, Action::Stopped))
    };
    assert!(!stopped(&story));
    story.close_all_told();
    assert!(stopped(&story));
    assert_eq!(story.accept("10.0.0.1:1"), Err(InboundRefusal::NotRunning));
    assert_eq!(story.manager.poll_timeout(), None);
}

#[test]
fn after_the_end_nothing_follows() {
    let mut story = Story::with_peers(0);
    story.command(Command::Shutdown);
    let told = story.events.len();
    story.command(Command::Ban(address(1).ip()));
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.accept("10.1.0.1:1"), Err(InboundRefusal::NotRunning));
    story.manager.update_config(story.now, config()).unwrap();
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.events.len(), told);
}
