//! Patterns of URLs: what they cover is theirs, however it is written.

use url::Url;

use crate::lines;
use crate::reach::{Glob, Host, Pattern, Permits, Scheme, Target};

/// A pattern and a URL: the pattern is stored as it was, and covers nothing whose scheme, port or host is another one's.
pub fn patterns(bytes: &[u8]) {
    let Some((text, asked)) = lines(bytes) else { return };
    globs(text, asked);
    let Ok(pattern) = text.parse::<Pattern>() else { return };
    assert_eq!(pattern.to_string().parse::<Pattern>().as_ref(), Ok(&pattern));
    let Some((url, target)) = Url::parse(asked)
        .ok()
        .and_then(|url| Some((url.clone(), Target::of(&url)?)))
    else {
        return;
    };
    let exactly = Pattern::exactly(target.clone(), asked.to_owned());
    assert_eq!(exactly.covers(&target), !hides_dots(&target), "{asked}");
    let is_covered = pattern.covers(&target);
    assert_eq!(Permits::from([pattern].as_slice()).admit(&target).is_some(), is_covered);
    if is_covered && text != "*" {
        is_of(text, &url);
    }
}

/// What covers a URL has its scheme and port, and ends in its host.
fn is_of(text: &str, url: &Url) {
    let (scheme, rest) = text.split_once("://").expect("only these cover URLs");
    assert!(scheme.eq_ignore_ascii_case(url.scheme()), "{text} covers {url}");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let usual = Scheme::parse(scheme).expect("it was parsed").port();
    assert_eq!(
        url.port_or_known_default(),
        Some(port.unwrap_or(usual)),
        "{text} covers {url}"
    );
    let asked = Host::parse(url.host_str().expect("a URL with a server"));
    match host.rsplit_once('*') {
        None => assert_eq!(Host::parse(host), asked, "{text} covers {url}"),
        Some(("", "")) => {}
        Some((_, below)) => {
            let (Host::Name(name), Host::Name(parent)) = (&asked, Host::parse(below.trim_start_matches('.'))) else {
                panic!("{text} covers the address {url}");
            };
            assert!(name.ends_with(&format!(".{parent}")), "{text} covers {url}");
        }
    }
}

fn hides_dots(target: &Target) -> bool {
    let everything: Pattern = "*".parse().expect("a pattern");
    !everything.covers(target)
}

/// Stars stand for what the table of all prefixes says that they stand for.
fn globs(pattern: &str, text: &str) {
    if pattern.len() * text.len() > 10_000 {
        return;
    }
    assert_eq!(
        Glob::new(pattern).matches(text),
        by_table(pattern, text),
        "{pattern} on {text}"
    );
    assert!(Glob::literal(pattern).matches(pattern));
}

fn by_table(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Whether the pattern so far matches the first so many characters.
    let mut fits: Vec<bool> = (0..=text.len()).map(|count| count == 0).collect();
    for wanted in pattern.chars() {
        let before = fits.clone();
        for count in 0..=text.len() {
            let last = count.checked_sub(1);
            fits[count] = match wanted {
                '*' => before[count] || last.is_some_and(|last| fits[last]),
                wanted => last.is_some_and(|last| before[last] && text[last] == wanted),
            };
        }
    }
    fits[text.len()]
}
