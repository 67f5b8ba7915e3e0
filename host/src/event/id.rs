//! Ids of what bots publish: the same for every repetition of a piece of work, whoever repeats it, and another for every
//! other piece of work (`docs/adr/0021-an-events-id-says-whose-work-it-is.md`).

use sha2::{Digest, Sha256};

/// Which attempt at a settled message an id belongs to. There is one attempt until settled messages can be retried.
const ATTEMPT: &str = "0";

/// A piece of work, and so whose it is. Two that are equal publish the same events under the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work<'a> {
    /// A group handles a message: which member does it, on which host and under which name, makes no difference.
    Message {
        /// The group.
        group: &'a str,
        /// The message's id.
        input: &'a str,
    },
    /// A timer of a stock bot. All bots of that kind, on all hosts, do the same work: two watchbots announce a commit once.
    StockTimer {
        /// The stock bot's name, as the host knows it: a component from a file cannot claim it.
        bot: &'a str,
    },
    /// A timer of a bot from a file.
    Timer {
        /// The name that its operator loaded it under.
        bot: &'a str,
    },
}

impl Work<'_> {
    /// The id of what the work publishes at a position: its number among all that the work publishes, from 0.
    /// `None` for a timer: its ticks have no identity, so that nothing would tell a repetition from new work.
    pub(crate) fn positioned(&self, what: &[&str], position: usize) -> Option<String> {
        match self {
            Self::Message { group, input } => {
                Some(derive("message", what, &[group, input, ATTEMPT, &position.to_string()]))
            }
            Self::StockTimer { .. } | Self::Timer { .. } => None,
        }
    }

    /// The id of what the work publishes under a key of the bot's choice. The key counts among what the same group
    /// (for a timer: the same bot) publishes, and nowhere else: no bot can take the id of another one's event.
    pub(crate) fn keyed(&self, what: &[&str], key: &str) -> String {
        match self {
            Self::Message { group, .. } => derive("message key", what, &[group, ATTEMPT, key]),
            Self::StockTimer { bot } => derive("stock timer key", what, &[bot, key]),
            Self::Timer { bot } => derive("timer key", what, &[bot, key]),
        }
    }

    /// The id of the failure event that says that a group refuses what a key says in a run, by a rule.
    pub(crate) fn refused(group: &str, run: &str, rule: &str, key: &str) -> String {
        derive("refused", &[], &[group, run, rule, key])
    }

    /// The id of the failure event that says that a group gave a message up.
    pub(crate) fn given_up(group: &str, input: &str) -> String {
        derive("given up", &[], &[group, input, ATTEMPT])
    }
}

/// An id in a domain of its own. The number of `what`'s parts is hashed too, so that the lists cannot run into each other.
fn derive(domain: &str, what: &[&str], whose: &[&str]) -> String {
    let count = what.len().to_string();
    let mut parts = vec![domain, &count];
    parts.extend(what);
    parts.extend(whose);
    derive_id(&parts)
}

/// An id from what makes an event the same: 128 bits of SHA-256 over the length-prefixed parts, in hex.
pub(crate) fn derive_id(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut id = hex::encode(hasher.finalize());
    id.truncate(32);
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUILD: [&str; 2] = ["foundry.build.v1", "builds"];

    fn message<'a>(group: &'a str, input: &'a str) -> Work<'a> {
        Work::Message { group, input }
    }

    #[test]
    fn an_id_depends_on_type_topic_group_input_and_position() {
        let ids = [
            message("pub/buildbot_amd64", "m1").positioned(&BUILD, 0),
            message("pub/buildbot_i386", "m1").positioned(&BUILD, 0),
            message("pub/buildbot_amd64", "m2").positioned(&BUILD, 0),
            message("pub/buildbot_amd64", "m1").positioned(&BUILD, 1),
            message("pub/buildbot_amd64", "m1").positioned(&["foundry.build.v1", "builds-2"], 0),
            message("pub/buildbot_amd64", "m1").positioned(&["foundry.sign.v1", "builds"], 0),
            Some(Work::given_up("pub/buildbot_amd64", "m1")),
            Some(Work::given_up("pub/buildbot_i386", "m1")),
        ];
        let different: std::collections::BTreeSet<_> = ids.iter().map(|id| id.clone().unwrap()).collect();
        assert_eq!(different.len(), ids.len());
    }

    #[test]
    fn a_key_counts_within_one_group_or_one_bot() {
        let ids = [
            Work::StockTimer { bot: "watchbot" }.keyed(&BUILD, "k"),
            // A file that is loaded under the name of a stock bot.
            Work::Timer { bot: "watchbot" }.keyed(&BUILD, "k"),
            Work::Timer { bot: "other" }.keyed(&BUILD, "k"),
            message("watchbot", "m1").keyed(&BUILD, "k"),
            message("other", "m1").keyed(&BUILD, "k"),
        ];
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        assert_eq!(
            message("g", "m1").keyed(&BUILD, "k"),
            message("g", "m2").keyed(&BUILD, "k"),
            "whatever message led to it"
        );
        assert_eq!(
            Work::Timer { bot: "watchbot" }.positioned(&BUILD, 0),
            None,
            "a timer's events need a key"
        );
    }

    fn parts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab0]{0,3}", 0..5)
    }

    proptest! {
        #[test]
        fn different_parts_give_different_ids(one in parts(), other in parts()) {
            let id = |parts: &[String]| derive_id(&parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(id(&one) == id(&other), one == other);
            prop_assert!(id(&one).len() == 32 && id(&one).bytes().all(|byte| byte.is_ascii_hexdigit()));
        }

        /// However a bot chooses type, topic and key, and however its operator calls groups.
        #[test]
        fn different_work_never_shares_an_id(
            one in ("[ab0]{0,2}", "[ab0]{0,2}", "[ab0]{0,2}", "[ab0]{0,2}", 0_usize..3),
            other in ("[ab0]{0,2}", "[ab0]{0,2}", "[ab0]{0,2}", "[ab0]{0,2}", 0_usize..3),
        ) {
            let ids = |(kind, topic, owner, rest, position): &(String, String, String, String, usize)| {
                let what = [kind.as_str(), topic.as_str()];
                let work = Work::Message { group: owner, input: rest };
                [
                    (format!("{:?}", (0, &what, owner, rest, position)), work.positioned(&what, *position).unwrap()),
                    (format!("{:?}", (1, &what, owner, rest)), work.keyed(&what, rest)),
                    (format!("{:?}", (2, &what, owner, rest)), Work::Timer { bot: owner }.keyed(&what, rest)),
                    (format!("{:?}", (3, &what, owner, rest)), Work::StockTimer { bot: owner }.keyed(&what, rest)),
                    (format!("{:?}", (4, owner, rest)), Work::given_up(owner, rest)),
                ]
            };
            for (first, first_id) in ids(&one) {
                for (second, second_id) in ids(&other) {
                    prop_assert_eq!(first == second, first_id == second_id, "{} {}", first, second);
                }
            }
        }
    }
}
