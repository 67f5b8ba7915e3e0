//! Dead letters of the embedded broker's groups.

use foundry_broker::{GroupStatus, Operator};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::host::Host;
use crate::event::group_of;
use crate::ledger::{DeadLetter, DeadLetterKind};

/// Dead letters that are looked at together: their payloads are in memory meanwhile, of 512 KiB each at most.
const PAGE: usize = 20;

impl Host {
    /// Dead letters that the embedded broker's groups have set aside, without their payloads, oldest first, at most `limit`: those after a number,
    /// if one is given, and those of a group, whose endpoint may be written as it is or as its share name.
    pub async fn group_dead_letters(&self, of: Option<&str>, after: Option<i64>, limit: usize) -> Vec<DeadLetter> {
        let Some(broker) = self.operator() else {
            return Vec::new();
        };
        let mut letters = Vec::new();
        for group in broker.groups().await {
            let name = group_of(&group.name);
            if group.dead > 0 && of.is_none_or(|of| name == of || name == group_of(of)) {
                letters.extend(of_group(&broker, &group, after, limit).await);
            }
        }
        letters.sort_by_key(|letter| letter.seq);
        letters.truncate(limit);
        letters
    }

    /// A dead letter of a group, with its payload.
    pub async fn group_dead_letter(&self, number: i64) -> Option<DeadLetter> {
        let broker = self.operator()?;
        for group in broker.groups().await {
            let from = Some(number.saturating_sub(1));
            let found = broker.dead_letters_after(&filter(&group), from, 1).await;
            if let Some(letter) = found.into_iter().find(|letter| letter.id == number) {
                return Some(of(&group_of(&group.name), letter));
            }
        }
        None
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

/// Those of one group, without their payloads.
async fn of_group(broker: &Operator, group: &GroupStatus, after: Option<i64>, limit: usize) -> Vec<DeadLetter> {
    let name = group_of(&group.name);
    let mut letters: Vec<DeadLetter> = Vec::new();
    while letters.len() < limit {
        let last = letters.last().map(|letter| letter.seq).or(after);
        let page = broker.dead_letters_after(&filter(group), last, PAGE).await;
        let is_last = page.len() < PAGE;
        letters.extend(page.into_iter().map(|letter| DeadLetter {
            payload: Vec::new(),
            ..of(&name, letter)
        }));
        if is_last {
            break;
        }
    }
    letters
}

fn filter(group: &GroupStatus) -> String {
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
