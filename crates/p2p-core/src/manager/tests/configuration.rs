//! Other settings while it runs, and the listener.

use p2p_proto::{PeerPolicy, Services};

use super::*;

#[derive(Debug)]
struct FullNodesOnly;

impl PeerPolicy for FullNodesOnly {
    fn check(&self, version: &Version) -> Result<(), p2p_proto::Refusal> {
        match version.services.contains(Services::NETWORK) {
            true => Ok(()),
            false => Err(p2p_proto::Refusal::Unwanted { why: "no blocks" }),
        }
    }
}

#[test]
fn a_policy_of_the_application_is_asked_beside_the_configured_one_whatever_changes() {
    let mut story = Story::with_peers(0);
    story.manager = story.manager.with_policy(Arc::new(FullNodesOnly));
    let judge = |story: &Story, agent: &'static str, services| {
        let mut version = ready(1, 0).version.clone();
        (version.user_agent, version.services) = (UserAgent::from_static(agent), services);
        story.manager.protocol.policy.check(&version)
    };
    let mut config = config();
    config.banned_user_agents = vec!["*bad*".into()];
    for turn in 0..2 {
        let full = judge(&story, "/Bitcoin SV:1.2.2/", Services::NETWORK);
        assert_eq!(full, Ok(()), "turn {turn}");
        let light = judge(&story, "/Bitcoin SV:1.2.2/", Services::NONE);
        assert!(light.is_err(), "turn {turn}");
        let update = story.manager.update_config(story.now, config.clone());
        update.unwrap();
    }
    assert!(judge(&story, "/bad/", Services::NETWORK).is_err());
}

#[test]
fn test_config_update_propagates_to_connections() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    let mut config = config();
    config.connection.ping_interval = Duration::from_secs(7);
    story.manager.update_config(story.now, config).unwrap();
    story.drain();
    assert!(story.others.iter().any(|action| matches!(
        action,
        Action::Configure { config, .. } if config.ping_interval.as_secs() == 7
    )));
    assert_eq!(story.events.last(), Some(&ControlEvent::ConfigUpdated));
}

#[test]
fn test_invalid_config_update_rejected() {
    let mut story = Story::with_peers(0);
    let before = story.manager.config.clone();
    let mut bad = config();
    bad.target_connections = 100;
    assert!(story.manager.update_config(story.now, bad).is_err());
    let other_network = ManagerConfig::new(Network::Testnet);
    assert!(
        story
            .manager
            .update_config(story.now, other_network)
            .is_err()
    );
    story.drain();
    assert_eq!(story.manager.config, before);
    assert!(!story.events.contains(&ControlEvent::ConfigUpdated));
}

#[test]
fn test_listener_restart_on_address_change() {
    let listens = |port| {
        let mut config = config();
        config.enable_listener = true;
        config.listener_address = [127, 0, 0, 1].into();
        config.listener_port = Some(port);
        config
    };
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut story = Story::new(listens(1000), OperatingMode::Normal, Vec::new());
    story.input(Input::Listening { address: at(1000) });
    story.others.clear();
    story
        .manager
        .update_config(story.now, listens(2000))
        .unwrap();
    story.drain();
    assert!(matches!(story.others[0], Action::Unlisten { address } if address == at(1000)));
    assert!(matches!(story.others[1], Action::Listen { address } if address == at(2000)));
    let error = "in use".to_string();
    story.input(Input::ListenFailed {
        address: at(2000),
        error,
    });
    story.others.clear();
    story.pass(Duration::from_secs(30));
    assert!(matches!(story.others[0], Action::Listen { address } if address == at(2000)));
}

#[test]
fn test_target_connections_update_triggers_new_connections() {
    let mut story = Story::with_peers(10);
    story.establish_all();
    let mut config = config();
    config.target_connections = 5;
    story.manager.update_config(story.now, config).unwrap();
    story.drain();
    assert_eq!(story.dials.len(), 2);
}
