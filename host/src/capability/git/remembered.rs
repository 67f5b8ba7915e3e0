//! Answers of HTTP servers that gave an entity tag, so that a list that did not change need not be sent again.

use std::collections::HashMap;

use super::advertisement::Ref;

/// How many repositories' answers are remembered.
const MAX_ANSWERS: usize = 10_000;

/// How many branches and tags those have together.
const MAX_REFS: usize = 500_000;

/// The last answers, by repository. What finds no room is asked for as a whole each time.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<String, Answer>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) etag: String,
    pub(super) refs: Vec<Ref>,
}

impl Remembered {
    /// The last answer for a repository.
    pub(super) fn get(&self, repository: &str) -> Option<Answer> {
        self.0.get(repository).cloned()
    }

    /// Remember an answer instead of the last one, if the server gave a tag with it and there is room.
    pub(super) fn put(&mut self, repository: String, etag: Option<String>, refs: &[Ref]) {
        self.0.remove(&repository);
        let held: usize = self.0.values().map(|answer| answer.refs.len()).sum();
        let has_room = self.0.len() < MAX_ANSWERS && held.saturating_add(refs.len()) <= MAX_REFS;
        if let Some(etag) = etag.filter(|_| has_room) {
            let refs = refs.to_vec();
            self.0.insert(repository, Answer { etag, refs });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(length: usize) -> Vec<Ref> {
        let one = Ref {
            name: String::new(),
            commit: String::new(),
        };
        vec![one; length]
    }

    #[test]
    fn long_lists_are_remembered_until_all_together_are_too_long() {
        let mut remembered = Remembered::default();
        let mut put = |name: &str, length| {
            remembered.put(name.to_owned(), Some("tag".to_owned()), &list(length));
            remembered.get(name).is_some()
        };
        assert!(put("a", 200_000));
        assert!(put("b", 200_000));
        assert!(!put("c", 200_000));
        assert!(put("c", 100_000));
        // What a repository had before does not count against it, and makes room when it is gone.
        assert!(put("a", 200_000));
        assert!(!put("a", 200_001));
        assert!(put("d", 200_000));
    }

    #[test]
    fn an_answer_without_a_tag_is_forgotten_and_so_is_the_one_before_it() {
        let mut remembered = Remembered::default();
        remembered.put("x".to_owned(), Some("tag".to_owned()), &list(1));
        assert_eq!(remembered.get("x").map(|answer| answer.etag).as_deref(), Some("tag"));
        remembered.put("x".to_owned(), None, &list(1));
        assert!(remembered.get("x").is_none());
    }
}
