//! What the operator wants watched: repositories, and patterns of their refs.

use foundry_sdk::options::matches;

/// The branch that is meant when none is named.
const DEFAULT_BRANCH: &str = "master";

/// Keys of the state may have 1024 bytes.
const MAX_URL: usize = 900;

/// A repository, and the refs in it that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// As the operator wrote it: what the host is asked.
    pub url: String,
    /// Without credentials: what others see.
    pub name: String,
    /// Whether the URL has a password.
    pub has_password: bool,
    /// Full patterns: `refs/heads/release/*`.
    pub patterns: Vec<String>,
}

impl Watched {
    /// Whether a ref is watched.
    pub fn watches(&self, full_name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, full_name))
    }

    /// Where its memory is.
    pub fn state_key(&self) -> String {
        format!("repository/{}", self.name)
    }

    /// A short name for people: `hello` of `https://example.org/team/hello.git`.
    pub fn title(&self) -> &str {
        let name = self
            .name
            .trim_end_matches('/')
            .trim_end_matches(".git")
            .trim_end_matches('/');
        name.rsplit(['/', ':']).next().unwrap_or(name)
    }
}

/// The values of `--repository`, by repository.
pub fn group<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<Watched>, String> {
    let mut all: Vec<Watched> = Vec::new();
    for value in values {
        let (url, pattern) = value.split_once('#').unwrap_or((value, DEFAULT_BRANCH));
        let (name, has_password) = without_credentials(url);
        if url.is_empty() || url.len() > MAX_URL {
            return Err(format!(
                "--repository {name}#{pattern}: the URL is empty, or longer than {MAX_URL} bytes"
            ));
        }
        if !may_name_a_ref(pattern) {
            return Err(format!(
                "--repository {name}#{pattern:?}: not a branch or a pattern of branches"
            ));
        }
        let pattern = if pattern.starts_with("refs/") {
            pattern.to_owned()
        } else {
            format!("refs/heads/{pattern}")
        };
        match all.iter_mut().find(|watched| watched.url == url) {
            Some(watched) if watched.patterns.contains(&pattern) => {}
            Some(watched) => watched.patterns.push(pattern),
            None => all.push(Watched {
                url: url.to_owned(),
                name,
                has_password,
                patterns: vec![pattern],
            }),
        }
    }
    Ok(all)
}

/// Whether some ref that git allows could match (git-check-ref-format(1); `*` stands for any text).
fn may_name_a_ref(pattern: &str) -> bool {
    !pattern.is_empty()
        && !pattern.starts_with(['-', '/', '.'])
        && !pattern.ends_with(['/', '.'])
        && !["..", "//", "/.", "@{", ".lock"]
            .iter()
            .any(|part| pattern.contains(part))
        && !pattern
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?[\\".contains(c))
}

/// The URL without a password, and without a user where that is one for HTTP; whether there was a password.
fn without_credentials(url: &str) -> (String, bool) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), false);
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let Some((user, host)) = authority.rsplit_once('@') else {
        return (url.to_owned(), false);
    };
    let (user, password) = match user.split_once(':') {
        Some((user, _)) => (user, true),
        None => (user, false),
    };
    match scheme {
        // ssh needs its user, who is no secret.
        "ssh" => (format!("ssh://{user}@{host}{path}"), password),
        _ => (format!("{scheme}://{host}{path}"), password),
    }
}

/// What a ref is called in events: a branch by its short name, anything else in full.
pub fn branch_of(full_name: &str) -> &str {
    full_name.strip_prefix("refs/heads/").unwrap_or(full_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_allows_no_ref_to_be_called_is_refused() {
        for bad in [
            "",
            "-x",
            "../../etc",
            "a..b",
            "/a",
            "a/",
            "a b",
            "a~1",
            "a:b",
            "a/.b",
            "x.lock",
            "a\\b",
        ] {
            let error = group([format!("/srv/a.git#{bad}").as_str()].into_iter()).unwrap_err();
            assert!(error.contains("not a branch"), "{bad:?}: {error}");
        }
        assert!(group(["/srv/a.git#release/*", "/srv/a.git#refs/tags/v1.*"].into_iter()).is_ok());
    }

    #[test]
    fn branches_of_one_repository_are_asked_for_at_once() {
        let values = [
            "/srv/a.git",
            "/srv/b.git#release/*",
            "/srv/a.git#refs/tags/*",
            "/srv/a.git#master",
        ];
        let watched = group(values.into_iter()).unwrap();
        let found: Vec<_> = watched.iter().map(|w| (w.url.as_str(), w.patterns.join(" "))).collect();
        let a = "refs/heads/master refs/tags/*".to_owned();
        assert_eq!(
            found,
            [("/srv/a.git", a), ("/srv/b.git", "refs/heads/release/*".to_owned())]
        );
    }

    #[test]
    fn patterns_match_whole_names() {
        let watched = group(["/a#stable", "/a#release/*"].into_iter()).unwrap().remove(0);
        assert!(watched.watches("refs/heads/stable") && watched.watches("refs/heads/release/1/rc"));
        assert!(!watched.watches("refs/heads/stable-2") && !watched.watches("refs/tags/stable"));
    }

    #[test]
    fn credentials_stay_out_of_names() {
        for (url, name, password) in [
            ("https://me:secret@example.org/x.git", "https://example.org/x.git", true),
            ("https://me:p@ss@example.org/x.git", "https://example.org/x.git", true),
            ("https://token@example.org/x.git", "https://example.org/x.git", false),
            (
                "https://example.org/~me@home/x.git",
                "https://example.org/~me@home/x.git",
                false,
            ),
            ("ssh://git@example.org/x.git", "ssh://git@example.org/x.git", false),
            ("git@example.org:x.git", "git@example.org:x.git", false),
            ("/srv/x@y.git", "/srv/x@y.git", false),
        ] {
            assert_eq!(without_credentials(url), (name.to_owned(), password), "{url}");
        }
        let error = group(["https://me:secret@example.org/x#"].into_iter()).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn titles_are_short() {
        let title = |url| group([url].into_iter()).unwrap().remove(0).title().to_owned();
        assert_eq!(title("https://example.org/team/hello.git"), "hello");
        assert_eq!(title("git@example.org:hello"), "hello");
        assert_eq!(title("/srv/hello.git/"), "hello");
        assert_eq!(title("/srv/hello/.git"), "hello");
    }

    #[test]
    fn malformed_branches_are_refused() {
        for value in ["/srv/x#", "/srv/x#-f", "/srv/x#a b", "#master", ""] {
            assert!(group([value].into_iter()).is_err(), "{value:?}");
        }
    }
}
