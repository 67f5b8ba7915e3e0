//! Events that come under the id of another one that was handled. One of the two has effects, and nobody should have to guess which: two
//! members of a group may both have done the same work, and not have come to the same.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::message::Handler;
use crate::capability::Level;
use crate::event::Event;
use crate::ledger::EventRow;

/// Ids that are remembered: beyond that all are forgotten, and may be warned of once more.
const MOST: usize = 1024;

/// The ids that were warned of.
#[derive(Debug, Default)]
pub(super) struct Twins {
    said: Mutex<BTreeSet<String>>,
}

impl Twins {
    fn is_news(&self, id: &str) -> bool {
        // Nothing panics while it holds this.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.contains(id) {
            return false;
        }
        if said.len() >= MOST {
            said.clear();
        }
        said.insert(id.to_owned())
    }
}

impl Handler {
    /// Note that an event is not handled since one of its id was. If that was another event, the run's log says so, once.
    pub(super) async fn handled_already(&self, event: &Event, topic: &str) {
        tracing::debug!(bot = self.name(), id = event.id, "handled already");
        let ledger = &self.link.ledger;
        let id = Some(event.id.clone());
        let on_record = self.until_written(|| ledger.causes(id.clone())).await;
        let Some(first) = on_record.first() else { return };
        let Some(what) = difference(first, &EventRow::of(event, topic)) else {
            return;
        };
        if self.twins.is_news(&event.id) {
            let text = format!(
                "not handled: the event {} of {} has the id of one of {}, which is on record with another {what}",
                event.id, event.source, first.source
            );
            self.log(Some(&event.run), Level::Warn, &text);
        }
    }
}

/// What two events of one id don't share. Source and time say who did the work, and when, not what came of it.
fn difference(first: &EventRow, second: &EventRow) -> Option<&'static str> {
    [
        ("type", first.event_type == second.event_type),
        ("run", first.run == second.run),
        ("cause", first.cause == second.cause),
        ("content", first.data == second.data),
    ]
    .into_iter()
    .find_map(|(what, is_same)| (!is_same).then_some(what))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> EventRow {
        EventRow {
            id: "b1".to_owned(),
            run: "r1".to_owned(),
            event_type: "foundry.build.v1".to_owned(),
            topic: "builds".to_owned(),
            source: "b1/build".to_owned(),
            subject: None,
            time: "2026-11-30T12:00:00Z".to_owned(),
            cause: Some("c1".to_owned()),
            group: Some("pub/buildbot".to_owned()),
            data: json!({ "version": "1.0" }),
        }
    }

    #[test]
    fn the_same_work_of_another_host_is_no_difference_and_another_result_is() {
        let (source, time) = ("b2/build".to_owned(), "2026-11-30T13:00:00Z".to_owned());
        assert_eq!(difference(&row(), &EventRow { source, time, ..row() }), None);
        let data = json!({ "version": "1.1" });
        assert_eq!(difference(&row(), &EventRow { data, ..row() }), Some("content"));
        let run = "r2".to_owned();
        assert_eq!(difference(&row(), &EventRow { run, ..row() }), Some("run"));
        assert_eq!(difference(&row(), &EventRow { cause: None, ..row() }), Some("cause"));
    }

    #[test]
    fn each_id_is_news_once_until_there_were_too_many_to_remember() {
        let twins = Twins::default();
        assert_eq!([twins.is_news("a"), twins.is_news("a")], [true, false]);
        assert!((1..MOST).all(|id| twins.is_news(&id.to_string())));
        assert!(!twins.is_news("a"));
        assert!(twins.is_news("one more") && twins.is_news("a"), "all were forgotten");
        assert_eq!(twins.said.lock().unwrap().len(), 2);
    }
}
