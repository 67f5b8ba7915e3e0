//! The same by e-mail, as plain text.

use foundry_sdk::events::{Commit, Dist, Failure};
use foundry_sdk::mail::{Message, send};
use foundry_sdk::{Outcome, log, retry_after};

use crate::{LATER, text};

/// Longest subject, in characters.
const SUBJECT: usize = 100;

/// A mail's subject and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Lines.
    pub text: String,
}

impl Letter {
    /// Of a publication.
    pub fn of_dist(dist: &Dist) -> Self {
        let mut text = String::new();
        for package in &dist.packages {
            text.push_str(&format!(
                "{} {} {}\n",
                package.package, package.version, package.architecture
            ));
        }
        if dist.omitted_packages > 0 {
            text.push_str(&format!("and {} more\n", dist.omitted_packages));
        }
        Self::new(
            format!(
                "{} {} {} {} {}",
                dist.source,
                dist.version,
                text::relation(dist),
                dist.name,
                dist.distribution
            ),
            format!("{text}\n{}", origin(&dist.commit)),
        )
    }

    /// Of a failure: its subject says so at once.
    pub fn of_failure(failure: &Failure) -> Self {
        let what = match &failure.commit {
            Some(commit) => format!("{} {}", commit.repository, commit.branch),
            None => failure.reason.clone(),
        };
        let phase = failure
            .phase
            .as_ref()
            .map(|phase| format!(" ({phase})"))
            .unwrap_or_default();
        let mut text = format!("{}{phase}: {}\n", failure.stage, failure.reason);
        if !failure.log_tail.is_empty() {
            text.push_str(&format!("\nThe end of its log:\n\n{}\n", failure.log_tail.join("\n")));
        }
        if let Some(commit) = &failure.commit {
            text.push_str(&format!("\n{}", origin(commit)));
        }
        Self::new(format!("FAILED: {} of {what}", failure.stage), text)
    }

    /// Everything in an event may come from a stranger's commit: what could end a line or move a terminal's cursor goes.
    fn new(subject: String, text: String) -> Self {
        let subject = subject.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self {
            subject: subject.take(SUBJECT).collect(),
            text: text
                .chars()
                .filter(|c| !c.is_control() || "\n\t".contains(*c))
                .collect(),
        }
    }
}

fn origin(commit: &Commit) -> String {
    format!(
        "Repository: {}\nBranch: {}\nCommit: {}\n",
        commit.repository, commit.branch, commit.commit
    )
}

/// Send it to everybody at once: all of them get it, or none does.
pub fn tell(to: Vec<String>, letter: Letter) -> Outcome {
    let subject = letter.subject.clone();
    let mail = Message {
        to,
        subject: letter.subject,
        text: letter.text,
        key: None,
    };
    match send(&mail) {
        Ok(id) => {
            log::info(format!("mailed {id}: {subject}"));
            Outcome::Done
        }
        Err(error) if error.is_temporary() => retry_after(LATER, error.why()),
        Err(error) => Outcome::Reject(error.why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(commit: Option<Commit>) -> Failure {
        Failure {
            commit,
            stage: "build".to_owned(),
            phase: Some("build".to_owned()),
            reason: "make: *** [all] Error 1".to_owned(),
            log_tail: vec!["cc hello.c".to_owned(), "\u{1b}[2Jhello.c:1: error".to_owned()],
            log: None,
        }
    }

    #[test]
    fn a_failure_is_told_by_its_subject() {
        let commit = Commit {
            repository: "https://example.org/hello.git".to_owned(),
            branch: "main\nBcc: all@example.org".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        };
        let letter = Letter::of_failure(&failure(Some(commit)));
        assert_eq!(
            letter.subject,
            "FAILED: build of https://example.org/hello.git main Bcc: all@example.org"
        );
        assert!(
            letter.text.starts_with("build (build): make: *** [all] Error 1\n"),
            "{}",
            letter.text
        );
        assert!(
            letter.text.contains("cc hello.c\n[2Jhello.c:1: error\n"),
            "{}",
            letter.text
        );
        assert!(letter.text.contains("Commit: 0123456789abcdef"), "{}", letter.text);
    }

    #[test]
    fn a_subject_has_an_end() {
        let mut failure = failure(None);
        failure.reason = "x".repeat(5000);
        assert_eq!(Letter::of_failure(&failure).subject.chars().count(), SUBJECT);
    }
}
