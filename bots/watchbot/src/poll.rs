//! What a look at a repository means: which commits are new, and what the operator should know. Pure: the answer of the
//! repository and the time come in, announcements, notes and the new memory go out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foundry_sdk::options::matches;

use crate::backoff::pause;
use crate::memory::{Head, Memory, Trouble};
use crate::watched::{Watched, branch_of};

/// Announcements of one repository in one poll. The first sight of thousands of tags takes several polls.
const MAX_ANNOUNCEMENTS: usize = 500;

/// The longest branch name that an event can carry.
const MAX_BRANCH: usize = 255;

/// How to look at things.
#[derive(Debug, Clone)]
pub struct Policy {
    /// First sight announces nothing.
    pub from_now: bool,
    /// Time between two polls.
    pub interval: Duration,
    /// Now, in milliseconds since 1970.
    pub now: u64,
}

/// A commit that is new on its branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// A branch's short name, or another ref's full name.
    pub branch: String,
    /// The commit.
    pub commit: String,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The normal course.
    Info(String),
    /// Something that needs attention.
    Warning(String),
}

/// What a poll comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// What to announce.
    pub announcements: Vec<Announcement>,
    /// What to log.
    pub notes: Vec<Note>,
    /// What to remember, once the announcements are made.
    pub memory: Memory,
}

/// Judge the answer of a repository: its refs by full name, or why there are none.
pub fn poll(
    watched: &Watched,
    memory: Memory,
    answer: Result<BTreeMap<String, String>, String>,
    policy: &Policy,
) -> Polled {
    let mut polled = Polled {
        announcements: Vec::new(),
        notes: Vec::new(),
        memory,
    };
    match answer {
        Ok(refs) => polled.read(watched, refs, policy),
        Err(why) => polled.failed(watched, why, policy),
    }
    polled
}

impl Polled {
    fn failed(&mut self, watched: &Watched, why: String, policy: &Policy) {
        let before = self.memory.trouble.take();
        let failures = before.as_ref().map_or(0, |trouble| trouble.failures).saturating_add(1);
        if before.is_none_or(|trouble| trouble.why != why) {
            self.notes.push(Note::Warning(why.clone()));
        }
        let pause = u64::try_from(pause(policy.interval, failures, &watched.name).as_millis()).unwrap_or(u64::MAX);
        self.memory.trouble = Some(Trouble {
            why,
            failures,
            next: policy.now.saturating_add(pause),
        });
    }

    fn read(&mut self, watched: &Watched, mut refs: BTreeMap<String, String>, policy: &Policy) {
        let name = &watched.name;
        if let Some(trouble) = self.memory.trouble.take() {
            self.notes.push(Note::Info(format!(
                "{name} can be read again, after {} failures",
                trouble.failures
            )));
        }
        refs.retain(|full_name, _| watched.watches(full_name) && branch_of(full_name).len() <= MAX_BRANCH);
        self.mark_gone(watched, &refs, policy);
        self.compare(watched, &refs, policy);
        self.note_missing(watched, &refs);
        self.memory.seen.extend(watched.patterns.iter().cloned());
        self.memory.forget(policy.now);
    }

    /// Refs that were there, and are not any more. Their commits stay known: should they return as they were, that is
    /// nothing new.
    fn mark_gone(&mut self, watched: &Watched, refs: &BTreeMap<String, String>, policy: &Policy) {
        for (full_name, head) in &mut self.memory.heads {
            if head.gone.is_none() && !refs.contains_key(full_name) && watched.watches(full_name) {
                head.gone = Some(policy.now);
                self.notes.push(Note::Warning(format!(
                    "{}#{} is gone",
                    watched.name,
                    branch_of(full_name)
                )));
            }
        }
    }

    fn compare(&mut self, watched: &Watched, refs: &BTreeMap<String, String>, policy: &Policy) {
        for (full_name, commit) in refs {
            let known = self.memory.heads.get_mut(full_name);
            let returned = known.as_ref().is_some_and(|head| head.gone.is_some());
            if returned {
                self.notes
                    .push(Note::Info(format!("{}#{} is back", watched.name, branch_of(full_name))));
            }
            let announce = match &known {
                Some(head) => head.commit != *commit,
                None => !(policy.from_now && self.is_first_sight(watched, full_name)),
            };
            if announce {
                if self.announcements.len() >= MAX_ANNOUNCEMENTS {
                    // Not remembered either, so that the next poll finds it.
                    continue;
                }
                let branch = branch_of(full_name).to_owned();
                self.announcements.push(Announcement {
                    branch,
                    commit: commit.clone(),
                });
            }
            self.memory.heads.insert(
                full_name.clone(),
                Head {
                    commit: commit.clone(),
                    gone: None,
                },
            );
        }
    }

    /// Whether none of the patterns that a ref matches has been looked for before.
    fn is_first_sight(&self, watched: &Watched, full_name: &str) -> bool {
        let mut matching = watched.patterns.iter().filter(|pattern| matches(pattern, full_name));
        !matching.any(|pattern| self.memory.seen.contains(pattern))
    }

    fn note_missing(&mut self, watched: &Watched, refs: &BTreeMap<String, String>) {
        let is_missing = |pattern: &&String| !refs.keys().any(|full_name| matches(pattern, full_name));
        let missing: BTreeSet<String> = watched.patterns.iter().filter(is_missing).cloned().collect();
        for pattern in missing.difference(&self.memory.missing) {
            // One that was there is reported as gone already.
            if !self.memory.heads.contains_key(pattern) {
                self.notes.push(Note::Warning(format!(
                    "{} has no {} (yet)",
                    watched.name,
                    branch_of(pattern)
                )));
            }
        }
        self.memory.missing = missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::group;

    /// A watchbot with one repository, poll after poll.
    struct Bot {
        watched: Watched,
        memory: Memory,
        policy: Policy,
    }

    impl Bot {
        fn new(values: &[&str]) -> Self {
            let watched = group(values.iter().copied()).unwrap().remove(0);
            let policy = Policy {
                from_now: false,
                interval: Duration::from_secs(30),
                now: 1_000_000,
            };
            Self {
                watched,
                memory: Memory::default(),
                policy,
            }
        }

        fn from_now(values: &[&str]) -> Self {
            let mut bot = Self::new(values);
            bot.policy.from_now = true;
            bot
        }

        /// Poll; returns `branch@commit` of the announcements, and the notes.
        fn poll(&mut self, answer: Result<&[(&str, &str)], &str>) -> (Vec<String>, Vec<Note>) {
            self.policy.now += 30_000;
            let answer = answer.map(|refs| refs.iter().map(|(n, c)| ((*n).to_owned(), (*c).to_owned())).collect());
            let polled = poll(
                &self.watched,
                self.memory.clone(),
                answer.map_err(str::to_owned),
                &self.policy,
            );
            // What a restart would read.
            self.memory = serde_json::from_slice(&serde_json::to_vec(&polled.memory).unwrap()).unwrap();
            (
                polled
                    .announcements
                    .into_iter()
                    .map(|a| format!("{}@{}", a.branch, a.commit))
                    .collect(),
                polled.notes,
            )
        }

        fn announces(&mut self, refs: &[(&str, &str)]) -> Vec<String> {
            self.poll(Ok(refs)).0
        }

        fn notes(&mut self, answer: Result<&[(&str, &str)], &str>) -> Vec<Note> {
            self.poll(answer).1
        }
    }

    const MASTER: &str = "refs/heads/master";

    #[test]
    fn first_sight_and_each_new_commit_are_announced_once() {
        let mut bot = Bot::new(&["/x"]);
        assert_eq!(bot.announces(&[(MASTER, "a"), ("refs/heads/other", "o")]), ["master@a"]);
        assert_eq!(bot.announces(&[(MASTER, "a"), ("refs/heads/other", "p")]), [""; 0]);
        assert_eq!(bot.announces(&[(MASTER, "b")]), ["master@b"]);
        assert_eq!(bot.announces(&[(MASTER, "b")]), [""; 0]);
    }

    #[test]
    fn from_now_is_silent_at_first_sight_only() {
        let mut bot = Bot::from_now(&["/x#release/*", "/x#master"]);
        assert_eq!(bot.announces(&[("refs/heads/release/1", "a")]), [""; 0]);
        let refs = [
            ("refs/heads/release/1", "a"),
            ("refs/heads/release/2", "b"),
            (MASTER, "c"),
        ];
        assert_eq!(bot.announces(&refs), ["master@c", "release/2@b"]);
        assert_eq!(bot.announces(&[("refs/heads/release/1", "d")]), ["release/1@d"]);
    }

    #[test]
    fn from_now_holds_for_a_pattern_that_is_added_later() {
        let mut bot = Bot::from_now(&["/x#master"]);
        bot.announces(&[(MASTER, "a")]);
        bot.watched = group(["/x#master", "/x#refs/tags/*"].into_iter()).unwrap().remove(0);
        assert_eq!(bot.announces(&[(MASTER, "a"), ("refs/tags/v1", "t")]), [""; 0]);
        assert_eq!(
            bot.announces(&[(MASTER, "a"), ("refs/tags/v1", "t"), ("refs/tags/v2", "u")]),
            ["refs/tags/v2@u"]
        );
    }

    #[test]
    fn a_branch_that_vanishes_and_returns_unchanged_announces_nothing() {
        let mut bot = Bot::new(&["/x"]);
        bot.announces(&[(MASTER, "a")]);
        let (announced, notes) = bot.poll(Ok(&[]));
        assert_eq!(
            (announced.len(), notes),
            (0, vec![Note::Warning("/x#master is gone".into())])
        );
        assert_eq!(bot.poll(Ok(&[])), (vec![], vec![]), "once, not at each tick");
        let (announced, notes) = bot.poll(Ok(&[(MASTER, "a")]));
        assert_eq!(
            (announced.len(), notes),
            (0, vec![Note::Info("/x#master is back".into())])
        );
    }

    #[test]
    fn a_force_push_and_a_return_with_another_commit_are_announced() {
        let mut bot = Bot::new(&["/x"]);
        bot.announces(&[(MASTER, "b")]);
        assert_eq!(bot.announces(&[(MASTER, "a")]), ["master@a"]);
        bot.announces(&[]);
        assert_eq!(bot.announces(&[(MASTER, "c")]), ["master@c"]);
    }

    #[test]
    fn a_missing_branch_is_a_warning_once() {
        let mut bot = Bot::new(&["/x#stable", "/x#release/*"]);
        let expected = ["/x has no release/* (yet)", "/x has no stable (yet)"];
        assert_eq!(
            bot.notes(Ok(&[(MASTER, "a")])),
            expected.map(|text| Note::Warning(text.into()))
        );
        assert_eq!(bot.notes(Ok(&[(MASTER, "a")])), []);
        assert_eq!(
            bot.announces(&[("refs/heads/stable", "a"), ("refs/heads/release/1", "b")])
                .len(),
            2
        );
    }

    #[test]
    fn trouble_is_logged_once_per_change_and_backs_off() {
        let mut bot = Bot::new(&["/x"]);
        bot.announces(&[(MASTER, "a")]);
        assert_eq!(bot.notes(Err("timed out")), [Note::Warning("timed out".into())]);
        let first = bot.memory.trouble.clone().unwrap().next - bot.policy.now;
        assert!(!bot.memory.is_due(bot.policy.now) && bot.memory.is_due(bot.policy.now + first));
        assert_eq!(bot.notes(Err("timed out")), []);
        let second = bot.memory.trouble.clone().unwrap().next - bot.policy.now;
        assert!(second > first);
        assert_eq!(bot.notes(Err("not found")), [Note::Warning("not found".into())]);
        let (announced, notes) = bot.poll(Ok(&[(MASTER, "b")]));
        assert_eq!(announced, ["master@b"]);
        assert_eq!(notes, [Note::Info("/x can be read again, after 3 failures".into())]);
        assert_eq!(bot.memory.trouble, None);
    }

    #[test]
    fn trouble_is_not_a_vanished_branch() {
        let mut bot = Bot::new(&["/x"]);
        bot.announces(&[(MASTER, "a")]);
        bot.poll(Err("unreachable"));
        assert_eq!(bot.memory.heads[MASTER].gone, None);
    }

    #[test]
    fn an_unchanged_repository_changes_no_memory() {
        let mut bot = Bot::new(&["/x", "/x#stable"]);
        bot.announces(&[(MASTER, "a")]);
        let before = bot.memory.clone();
        bot.announces(&[(MASTER, "a")]);
        assert_eq!(bot.memory, before);
    }

    #[test]
    fn thousands_of_refs_are_announced_over_several_polls_and_none_is_lost() {
        let mut bot = Bot::new(&["/x#refs/tags/*"]);
        let names: Vec<String> = (0..1234).map(|i| format!("refs/tags/v{i}")).collect();
        let refs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a")).collect();
        let mut announced: Vec<String> = Vec::new();
        for expected in [500, 500, 234, 0] {
            let now = bot.announces(&refs);
            assert_eq!(now.len(), expected);
            announced.extend(now);
        }
        announced.sort_unstable();
        announced.dedup();
        assert_eq!(announced.len(), 1234);
    }

    #[test]
    fn a_ref_that_is_gone_for_good_is_forgotten() {
        let mut bot = Bot::new(&["/x#*"]);
        bot.announces(&[(MASTER, "a"), ("refs/heads/topic", "t")]);
        bot.announces(&[(MASTER, "a")]);
        assert!(bot.memory.heads.contains_key("refs/heads/topic"));
        bot.policy.now += 91 * 24 * 3600 * 1000;
        bot.announces(&[(MASTER, "a")]);
        assert!(!bot.memory.heads.contains_key("refs/heads/topic"));
    }

    #[test]
    fn a_name_too_long_for_an_event_is_left_out() {
        let mut bot = Bot::new(&["/x#*"]);
        let long = format!("refs/heads/{}", "x".repeat(256));
        assert_eq!(bot.announces(&[(&long, "a"), (MASTER, "b")]), ["master@b"]);
    }
}
