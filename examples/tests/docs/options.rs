//! The guide's tables of options are those of the configuration.

use std::collections::BTreeMap;

use p2p_tokio::{ManagerConfig, Network};
use serde_json::Value;

use crate::page::{Page, code};

/// Where a connection's own settings are, in files and in the guide.
const CONNECTION: &str = "connection";

#[test]
fn the_guide_explains_every_option_and_no_other() {
    let guide = Page::at("docs/p2p_usage_guide.md");
    let told: Vec<_> = told(&guide).into_keys().collect();
    let there: Vec<_> = there().into_keys().collect();
    assert_eq!(told, there);
}

#[test]
fn the_guide_tells_the_defaults_in_force() {
    let guide = Page::at("docs/p2p_usage_guide.md");
    let there = there();
    for (name, default) in told(&guide) {
        let Some(value) = there.get(&name) else {
            continue;
        };
        let told = code(&default).next();
        match value {
            // What follows from other fields is told in words.
            Value::Null => assert!(default.starts_with("none"), "{name}: {default}"),
            Value::String(text) => assert_eq!(told, Some(text.as_str()), "{name}"),
            Value::Number(number) => {
                let told: Option<f64> = told.and_then(|told| told.parse().ok());
                assert_eq!(told, number.as_f64(), "{name}");
            }
            other => assert_eq!(told, Some(other.to_string().as_str()), "{name}"),
        }
    }
}

/// Options and their defaults, as the guide has them: rows that begin with a name of one, and
/// tell a default, a reason and an effect.
fn told(guide: &Page) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for row in guide.rows() {
        if let [name, default, _, effect] = row[..]
            && let Some(name) = name
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
        {
            assert!(!effect.is_empty(), "{name}: what does changing it do?");
            let before = told.insert(name.to_owned(), default.to_owned());
            assert_eq!(before, None, "{name} is there twice");
        }
    }
    told
}

/// Options and their defaults, as the code has them.
fn there() -> BTreeMap<String, Value> {
    let Value::Object(manager) =
        serde_json::to_value(ManagerConfig::new(Network::Mainnet)).unwrap()
    else {
        panic!("a configuration is no object")
    };
    let mut there = BTreeMap::new();
    for (name, value) in manager {
        match value {
            Value::Object(fields) if name == CONNECTION => {
                let fields = fields.into_iter();
                there.extend(fields.map(|(field, value)| (format!("{CONNECTION}.{field}"), value)));
            }
            value => {
                there.insert(name, value);
            }
        }
    }
    there
}
