//! Dead letters of the embedded broker's groups.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::host::Host;
use crate::event::group_of;
use crate::ledger::{DeadLetter, DeadLetterKind};

/// Dead letters of one group that are listed.
const LISTED: usize = 1000;

impl Host {
    /// The dead letters that the embedded broker's groups have set aside.
    pub async fn group_dead_letters(&self) -> Vec<DeadLetter> {
        let Some(broker) = self.operator() else {
            return Vec::new();
        };
        let mut letters = Vec::new();
        for group in broker.groups().await {
            for letter in broker.dead_letters(&filter(&group), LISTED).await {
                letters.push(of(&group_of(&group.name), letter));
            }
        }
        letters
    }

    /// Put a dead letter of a group back into its queue. Returns whether there is one of that number.
    pub async fn requeue_group_dead_letter(&self, number: i64) -> bool {
        let Some(broker) = self.operator() else { return false };
        for group in broker.groups().await {
            if broker.requeue_dead_letters(&filter(&group), Some(vec![number])).await > 0 {
                return true;
            }
        }
        false
    }

    /// Forget a dead letter of a group. Returns whether there is one of that number.
    pub async fn drop_group_dead_letter(&self, number: i64) -> bool {
        let Some(broker) = self.operator() else { return false };
        for group in broker.groups().await {
            if broker.discard_dead_letters(&filter(&group), Some(vec![number])).await > 0 {
                return true;
            }
        }
        false
    }
}

fn filter(group: &foundry_broker::GroupStatus) -> String {
    format!("$share/{}/{}", group.name, group.filter)
}

fn of(group: &str, letter: foundry_broker::DeadLetter) -> DeadLetter {
    let event: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap_or_default();
    let died = OffsetDateTime::from_unix_timestamp_nanos(i128::from(letter.died) * 1_000_000);
    let reason = match letter.reason.as_str() {
        "attempts" => "no member of the group acknowledged it".to_owned(),
        "refused" => "a member of the group refused it".to_owned(),
        other => other.to_owned(),
    };
    DeadLetter {
        seq: letter.id,
        at: died
            .ok()
            .and_then(|died| died.format(&Rfc3339).ok())
            .unwrap_or_default(),
        id: event.get("id").and_then(|id| id.as_str()).map(ToOwned::to_owned),
        kind: DeadLetterKind::Group,
        ..DeadLetter::now(group, &letter.topic, None, reason, letter.attempts, &letter.payload)
    }
}
