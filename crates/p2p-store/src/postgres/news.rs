//! What was heard and not told yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

/// Ids that wait. Where more change at once, to read all is less work than to read each.
const LIMIT: usize = 10_000;

/// What was heard and not told yet.
#[derive(Debug, Default)]
pub(super) struct News {
    heard: Mutex<Batch>,
    arrived: Notify,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) ids: BTreeSet<Uuid>,
    /// And more than that.
    pub(super) missed: bool,
}

impl News {
    /// Takes in a notification, unless it is of our own doing: the id of a record and who changed
    /// it, or `*` for all of them.
    pub(super) fn heard(&self, payload: &str, ours: &str) {
        let (id, origin) = payload.split_once(' ').unwrap_or((payload, ""));
        if origin == ours {
            return;
        }
        let mut batch = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match id.parse() {
            Ok(id) if batch.ids.len() < LIMIT => drop(batch.ids.insert(id)),
            // What we do not understand may be anything.
            _ => {
                batch.missed = true;
                batch.ids.clear();
            }
        }
        self.arrived.notify_one();
    }

    /// Waits until there is something, and takes it.
    pub(super) async fn next(&self) -> Batch {
        self.arrived.notified().await;
        let mut batch = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "1d0d3f60-0000-4000-8000-000000000001";

    #[tokio::test]
    async fn what_others_do_is_gathered() {
        let news = News::default();
        let one = Uuid::from_u128(1);
        news.heard(&format!("{one} {OURS}"), OURS);
        news.heard(&format!("{one} {}", Uuid::nil()), OURS);
        news.heard(&format!("{} ", Uuid::from_u128(2)), OURS);
        news.heard(&format!("{one} {}", Uuid::nil()), OURS);
        let batch = news.next().await;
        assert_eq!(batch.ids, [one, Uuid::from_u128(2)].into());
        assert!(!batch.missed);
    }

    #[tokio::test]
    async fn too_much_and_what_is_not_understood_count_as_missed() {
        let news = News::default();
        news.heard("*", OURS);
        assert!(news.next().await.missed);
        for n in 0..=LIMIT as u128 {
            news.heard(&format!("{} x", Uuid::from_u128(n)), OURS);
        }
        let batch = news.next().await;
        assert!(batch.missed);
        assert!(batch.ids.len() < LIMIT);
    }
}
