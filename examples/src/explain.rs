//! Why there are as many peers as there are, in a line.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use p2p_tokio::Explanation;
use serde_json::{Value, json};

/// The explanation for people; `now` is when it was given.
pub fn line(explanation: &Explanation, now: Timestamp) -> String {
    let backoff = match explanation.next_in {
        Some(next) => format!("in backoff until {} or later", clock(now, next)),
        None => "in backoff".into(),
    };
    let others = [
        (explanation.pending, "being made or unmade"),
        (explanation.ready, candidates(explanation.ready)),
        (explanation.waiting, &*backoff),
        (explanation.inaccessible, "of all these inaccessible"),
        (explanation.banned, "banned"),
    ];
    let others = others.into_iter().filter(|&(n, _)| n > 0);
    let others: Vec<_> = others.map(|(n, what)| format!("{n} {what}")).collect();
    let others = match others.is_empty() {
        true => "no other is known".into(),
        false => others.join(", "),
    };
    let outage = match explanation.outage {
        true => "; nothing can be reached, so dialling has slowed down",
        false => "",
    };
    let (connected, target) = (explanation.connected, explanation.target);
    format!("{connected} of {target} peers: {others}{outage}")
}

/// The explanation for programs.
pub fn object(explanation: &Explanation) -> Value {
    json!({ "explanation": {
        "wanted": explanation.target, "connected": explanation.connected,
        "pending": explanation.pending, "ready": explanation.ready,
        "waiting": explanation.waiting,
        "next_in": explanation.next_in.map(|next| next.as_secs_f64()),
        "inaccessible": explanation.inaccessible, "banned": explanation.banned,
        "outage": explanation.outage,
    }})
}

fn candidates(n: usize) -> &'static str {
    match n {
        1 => "candidate",
        _ => "candidates",
    }
}

/// The time of day, UTC, as lines begin with.
fn clock(now: Timestamp, after: Duration) -> String {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    let then = now.saturating_add(after).unwrap_or(now);
    then.strftime("%H:%M:%S").to_string()
}
