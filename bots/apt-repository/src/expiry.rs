//! What runs out: a suite's signature, and the key that made it. To be told ahead of time, since clients refuse both.

use crate::generations::Records;

/// Milliseconds of an hour.
const HOUR: u64 = 60 * 60 * 1000;

/// Milliseconds of a day.
const DAY: u64 = 24 * HOUR;

/// How long before its end a key is a problem: all clients have to get it again.
const SOON: u64 = 30 * DAY;

/// What has run out, or soon will, of a suite that was signed by a key which expires then, if ever. Times are in milliseconds
/// since 1970.
#[must_use]
pub fn problems(records: &Records, key_expires: Option<u64>, now: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let left = records.valid_until.map(|until| until.saturating_sub(now));
    match (left, records.valid_for) {
        (Some(0), _) => problems.push("it is not valid any more: clients refuse it".to_owned()),
        // distbot signs anew when half of the time is over.
        (Some(left), Some(valid_for)) if left < valid_for / 4 => problems.push(format!(
            "clients will refuse it in {} h, and distbot should have signed it anew by now (is it running?)",
            left / HOUR
        )),
        _ => {}
    }
    match key_expires.map(|expires| expires.saturating_sub(now)) {
        Some(0) => problems.push(format!(
            "its key {} has expired: clients refuse it (foundry-host key extend)",
            records.key
        )),
        Some(left) if left < SOON => problems.push(format!(
            "its key {} expires in {} days: extend it, and have clients get it anew (foundry-host key extend)",
            records.key,
            left / DAY
        )),
        _ => {}
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(valid_until: Option<u64>, key_expires: Option<u64>) -> Vec<String> {
        let valid_for = valid_until.map(|_| 14 * DAY);
        let records = serde_json::json!({ "key": "ABCD", "valid_until": valid_until, "valid_for": valid_for });
        let records: Records = serde_json::from_value(records).unwrap();
        problems(&records, key_expires, 100 * DAY)
    }

    #[test]
    fn what_lasts_is_no_problem() {
        assert_eq!(said(None, None), Vec::<String>::new());
        assert_eq!(said(Some(104 * DAY), Some(131 * DAY)), Vec::<String>::new());
    }

    #[test]
    fn what_runs_out_is_told_before_and_after() {
        let one = |mut problems: Vec<String>| {
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems.remove(0)
        };
        assert!(one(said(Some(102 * DAY), None)).starts_with("clients will refuse it in 48 h"));
        assert!(one(said(Some(99 * DAY), None)).starts_with("it is not valid any more"));
        assert!(one(said(None, Some(110 * DAY + HOUR))).contains("expires in 10 days"));
        assert!(one(said(None, Some(99 * DAY))).contains("has expired"));
        assert_eq!(said(Some(99 * DAY), Some(99 * DAY)).len(), 2);
    }
}
