//! What is said of an event, in Slack's markup.

use foundry_sdk::events::{Commit, Dist, Failure};

/// Lines of a failure's log that are shown.
const LOG_LINES: usize = 5;

/// What is said of a publication.
pub fn of_dist(dist: &Dist) -> String {
    let mut packages: Vec<_> = dist
        .packages
        .iter()
        .map(|package| format!("{}/{}", package.package, package.architecture))
        .collect();
    if dist.omitted_packages > 0 {
        packages.push(format!("and {} more", dist.omitted_packages));
    }
    if came_too_late(dist) {
        packages.push("newer versions have superseded it".to_owned());
    } else if packages.is_empty() && !dist.kept.is_empty() {
        packages.push("nothing new".to_owned());
    }
    format!(
        ":package: *{} {}* {} {} {} ({}), from {}",
        escape(&dist.source),
        escape(&dist.version),
        relation(dist),
        escape(&dist.name),
        escape(&dist.distribution),
        escape(&packages.join(", ")),
        origin(&dist.commit),
    )
}

/// Whether newer versions had superseded all packages of a publication: then nothing of it is in the suite.
fn came_too_late(dist: &Dist) -> bool {
    dist.packages.is_empty() && dist.artifacts.is_empty() && dist.kept.is_empty()
}

/// What the version is to the suite.
pub fn relation(dist: &Dist) -> &'static str {
    if came_too_late(dist) {
        "came too late for"
    } else {
        "is in"
    }
}

/// What is said of a failure.
pub fn of_failure(failure: &Failure) -> String {
    let mut text = format!(":x: *{}* failed", escape(&failure.stage));
    if let Some(phase) = &failure.phase {
        text.push_str(&format!(" ({})", escape(phase)));
    }
    if let Some(commit) = &failure.commit {
        text.push_str(&format!(" on {}", origin(commit)));
    }
    text.push_str(&format!(": {}", escape(&failure.reason)));
    let skipped = failure.log_tail.len().saturating_sub(LOG_LINES);
    if !failure.log_tail.is_empty() {
        let tail: Vec<_> = failure.log_tail.iter().skip(skipped).map(|line| escape(line)).collect();
        text.push_str(&format!("\n```\n{}\n```", tail.join("\n")));
    }
    text
}

fn origin(commit: &Commit) -> String {
    let id: String = commit.commit.chars().take(12).collect();
    format!(
        "{} {} ({})",
        escape(&commit.repository),
        escape(&commit.branch),
        escape(&id)
    )
}

/// These three begin markup; everything in an event may come from a stranger's commit.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use foundry_sdk::events::Package;

    use super::*;

    fn commit() -> Commit {
        Commit {
            repository: "https://example.org/hello.git".to_owned(),
            branch: "main".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        }
    }

    #[test]
    fn a_publication_names_the_packages_and_where_they_are() {
        let mut dist = Dist {
            commit: commit(),
            name: "Example".to_owned(),
            distribution: "stable".to_owned(),
            source: "hello".to_owned(),
            version: "1.0-1".to_owned(),
            packages: vec![Package {
                package: "hello".to_owned(),
                version: "1.0-1".to_owned(),
                architecture: "amd64".to_owned(),
            }],
            kept: Vec::new(),
            omitted_kept: 0,
            artifacts: Vec::new(),
            omitted_packages: 0,
            omitted_artifacts: 0,
        };
        assert_eq!(
            of_dist(&dist),
            ":package: *hello 1.0-1* is in Example stable (hello/amd64), from https://example.org/hello.git main \
             (0123456789ab)"
        );
        dist.omitted_packages = 1200;
        assert!(of_dist(&dist).contains("(hello/amd64, and 1200 more)"));
        dist.omitted_packages = 0;
        dist.packages.clear();
        assert!(
            of_dist(&dist).starts_with(
                ":package: *hello 1.0-1* came too late for Example stable (newer versions have superseded it)"
            ),
            "{}",
            of_dist(&dist)
        );
    }

    #[test]
    fn a_failure_shows_the_end_of_its_log_and_no_markup_of_strangers() {
        let failure = Failure {
            commit: Some(commit()),
            stage: "build".to_owned(),
            phase: Some("build".to_owned()),
            reason: "<!channel> & more".to_owned(),
            log_tail: (1..=7).map(|n| format!("line {n}")).collect(),
            log: None,
        };
        let text = of_failure(&failure);
        assert!(text.starts_with(":x: *build* failed (build) on https://example.org/hello.git main"));
        assert!(text.contains("&lt;!channel&gt; &amp; more"), "{text}");
        assert!(
            !text.contains("line 2") && text.ends_with("line 6\nline 7\n```"),
            "{text}"
        );
    }
}
