//! Patterns against URLs that try to pass for others, and addresses that names lead to.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use url::Url;

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn web(text: &str) -> Target {
    Target::of(&Url::parse(text).unwrap()).unwrap()
}

fn covers(text: &str, url: &str) -> bool {
    pattern(text).covers(&web(url))
}

#[test]
fn a_pattern_compares_scheme_host_port_and_path_one_by_one() {
    let hooks = "https://hooks.example.org/services/*";
    for same in [
        "https://hooks.example.org/services/T0/B0?x=1",
        "https://HOOKS.example.org:443/services/x",
        "https://hooks.example.org./services/x",
        "https://me:secret@hooks.example.org/services/x",
        "https:\\\\hooks.example.org\\services\\x",
        "https://hooks.ex\tample.org/services/x",
        "https://hooks%2Eexample.org/services/x",
    ] {
        assert!(covers(hooks, same), "{same}");
    }
    for other in [
        "http://hooks.example.org/services/x",
        "https://hooks.example.org/other",
        "https://hooks.example.org/services/../other",
        "https://hooks.example.org/services/%2e%2E/other",
        "https://hooks.example.org/services/..%2fother",
        "https://hooks.example.org/services/%2e%2e%5Cother",
        "https://hooks.example.org:8443/services/x",
        "https://hooks.example.org.evil.net/services/x",
        "https://hooks.example.org@evil.net/services/x",
        "https://evil.net\\@hooks.example.org/services/x",
        "https://evil.net/https://hooks.example.org/services/x",
        "https://evil.net/?https://hooks.example.org/services/",
        "https://evil.net/#https://hooks.example.org/services/",
    ] {
        assert!(!covers(hooks, other), "{other}");
    }
}

#[test]
fn a_star_in_a_host_stands_for_names_below_it_and_for_nothing_else() {
    let below = "https://*.example.org";
    assert!(covers(below, "https://a.b.example.org/x"));
    for other in [
        "https://example.org/",
        "https://evilexample.org/",
        "https://a.example.org.evil.net/",
        "https://evil.net/.example.org",
    ] {
        assert!(!covers(below, other), "{other}");
    }
    assert!(covers("https://git-*.example.org", "https://git-1.example.org/"));
    assert!(
        "https://*.1/".parse::<Pattern>().is_err(),
        "an address has no names above it"
    );
    assert!(covers("https://*", "https://anything.net/x"));
}

#[test]
fn one_host_has_one_spelling() {
    for (granted, asked) in [
        ("https://bücher.example/*", "https://xn--bcher-kva.example/x"),
        ("https://*.Bücher.example/*", "https://a.XN--BCHER-KVA.example/x"),
        ("http://[::1]:80/*", "http://[0:0::1]/x"),
        ("http://127.0.0.1/*", "http://2130706433/x"),
        ("http://0x7f.1/*", "http://127.0.0.1/x"),
        ("https://example.org./*", "https://example.org/x"),
        ("HTTPS://Example.ORG/*", "https://example.org/x"),
        (
            "https://example.org/a b*".replace(' ', "%20").as_str(),
            "https://example.org/a b/c",
        ),
    ] {
        assert!(covers(granted, asked), "{granted} {asked}");
    }
    assert!(!covers("http://127.0.0.1/*", "http://[::ffff:127.0.0.1]/x"));
}

#[test]
fn a_grant_that_could_mean_others_hosts_is_refused_with_what_to_write() {
    for (text, why) in [
        ("https://example.org*", "write example.org, or *.example.org"),
        ("https://*example.org/x", "write example.org, or *.example.org"),
        ("https://example.*/x", "write example, or *.example"),
        ("http://10.*/", "would match hosts of others"),
        ("http://local*:1/", "would match hosts of others"),
        ("https://*.*/x", "whole names"),
        ("https:///x", "no host"),
        ("https://a..b/x", "not a host"),
        ("https://a:1:2/x", "not a host"),
        ("https://example.org:x/", "not a port"),
        ("https://example.org:99999/", "not a port"),
        ("https://user@example.org/", "password"),
        ("https://user:pw@example.org/", "password"),
        ("ssh://user:pw@example.org/x", "password"),
        ("https://example.org\\x", "backslash"),
        ("https://example.org/x\n", "control"),
        ("https://example.org/a/../b", "path that they lead to"),
        ("/srv/../etc", "path that they lead to"),
        ("file://elsewhere/x", "not a URL"),
        ("file:///srv/a%20b/*", "%-sequences"),
        ("ssh://example.org/%7Ex", "%-sequences"),
        ("ftp://example.org/", "not a URL"),
        ("hooks.example.org", "not a URL"),
        ("ext::sh -c id", "blanks"),
        ("", "empty"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for text in [
        "*",
        "/srv/x",
        "ssh://example.org/x",
        "hooks.example.org",
        "ftp://example.org/",
    ] {
        let error = text.parse::<WebPattern>().unwrap_err().to_string();
        assert!(error.contains("https://"), "{text}: {error}");
    }
}

fn ssh(account: Option<&str>, host: &str, path: &str) -> Target {
    Target::Remote {
        server: Server {
            scheme: Scheme::Ssh,
            host: Host::parse(host),
            port: 22,
        },
        account: account.map(ToOwned::to_owned),
        path: path.to_owned(),
    }
}

#[test]
fn an_account_of_ssh_is_part_of_what_is_granted() {
    let team = ssh(Some("git"), "example.org", "team/x.git");
    assert!(pattern("git@example.org:team/*").covers(&team));
    assert!(
        !pattern("ssh://git@example.org/team/*").covers(&team),
        "that is another path"
    );
    assert!(!pattern("example.org:team/*").covers(&team));
    assert!(!pattern("root@example.org:team/*").covers(&team));
    assert!(pattern("*@example.org:*").covers(&team));
    assert!(pattern("ssh://git@example.org/~me/*").covers(&ssh(Some("git"), "example.org", "~me/x")));
    assert!(pattern("ssh://*.example.org/*").covers(&ssh(Some("git"), "a.example.org", "/x")));
}

#[test]
fn a_path_of_this_machine_is_one_thing_in_both_its_forms() {
    let target = Target::Local("/srv/git/x.git".to_owned());
    for text in ["/srv/git/*", "file:///srv/git/*", "*"] {
        assert!(pattern(text).covers(&target), "{text}");
    }
    assert!(!pattern("/srv/other/*").covers(&target));
    assert!(!pattern("https://*/*").covers(&target));
}

#[test]
fn a_literal_has_no_stars_and_keeps_its_text() {
    let exact = Pattern::exactly(web("https://example.org/*/x"), "https://shown/x".to_owned());
    assert!(exact.covers(&web("https://example.org/*/x")));
    assert!(!exact.covers(&web("https://example.org/a/x")));
    assert_eq!(exact.to_string(), "https://shown/x");
    let unreadable = Pattern::exactly(Target::Local("x".to_owned()), "me:secret@ x".to_owned());
    assert_eq!(unreadable.to_string(), "/…");
    assert!(unreadable.to_string().parse::<Pattern>().is_ok());
}

#[test]
fn patterns_are_kept_as_they_were_written_and_bad_ones_are_refused_when_they_are_read() {
    for text in ["https://*.Example.org/x*", "*", "git@example.org:x", "/srv/*"] {
        let json = serde_json::to_string(&pattern(text)).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), pattern(text));
    }
    let error = serde_json::from_str::<Pattern>("\"https://example.org*\"").unwrap_err();
    assert!(error.to_string().contains("write example.org"), "{error}");
}

#[test]
fn a_star_alone_covers_what_is_asked_for_and_no_redirect() {
    let permits = |texts: &[&str]| {
        let patterns: Vec<_> = texts.iter().map(|text| pattern(text)).collect();
        Permits::from(patterns.as_slice())
    };
    let url = web("https://example.org/x");
    assert_eq!(permits(&["*"]).admit(&url), Some(Addresses::Public));
    assert_eq!(permits(&["*"]).admit_redirect(&url), None);
    assert_eq!(
        permits(&["*", "https://example.org"]).admit_redirect(&url),
        Some(Addresses::Public)
    );
    assert_eq!(permits(&[]).admit(&url), None);
}

#[test]
fn only_a_grant_that_names_an_address_leads_to_a_private_one() {
    let leads = |granted: &str, url: &str, address: &str| {
        let permits = Permits::from([pattern(granted)].as_slice());
        let target = web(url);
        let Target::Remote { server, .. } = &target else {
            unreachable!()
        };
        let rule = Rule::new(permits.admit(&target).unwrap(), Arc::default());
        let address: SocketAddr = format!("{address}:80").parse().unwrap();
        rule.allowed(&server.host, [address]).is_ok()
    };
    assert!(leads("http://127.0.0.1/*", "http://127.0.0.1/x", "127.0.0.1"));
    assert!(leads("http://localhost/*", "http://localhost/x", "127.0.0.1"));
    assert!(!leads("http://localhost/*", "http://localhost/x", "10.0.0.1"));
    assert!(leads("http://10.0.0.7/*", "http://10.0.0.7/x", "10.0.0.7"));
    assert!(!leads("http://*/*", "http://127.0.0.1/x", "127.0.0.1"));
    assert!(!leads("*", "http://169.254.169.254/x", "169.254.169.254"));
    assert!(!leads(
        "http://git.example.org/*",
        "http://git.example.org/x",
        "10.0.0.7"
    ));
    assert!(leads("http://git.example.org/*", "http://git.example.org/x", "8.8.8.8"));
}

#[test]
fn what_signed_events_name_may_be_an_address_and_names_lead_to_public_ones() {
    let permits = Permits::from([Pattern::announced()].as_slice());
    let rule = Rule::new(permits.admit(&web("http://127.0.0.1/x")).unwrap(), Arc::default());
    assert!(rule.allows(&Host::parse("127.0.0.1"), "127.0.0.1".parse().unwrap()));
    assert!(!rule.allows(&Host::parse("git.example.org"), "127.0.0.1".parse().unwrap()));
}

#[test]
fn the_operator_names_the_hosts_that_may_be_private_or_hear_passwords() {
    let network = Network {
        private_hosts: vec!["*.corp.example".parse().unwrap()],
        clear_text_hosts: vec!["git.corp.example".parse().unwrap()],
    };
    let rule = Rule::new(Addresses::Public, Arc::new(network.clone()));
    let private = "10.0.0.7:443".parse::<SocketAddr>().unwrap();
    assert!(rule.allowed(&Host::parse("git.corp.example"), [private]).is_ok());
    let refused = rule.allowed(&Host::parse("evil.example"), [private]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "evil.example leads to a private address, 10.0.0.7 (if it may be reached, write private-hosts = [\"evil.example\"] under \
         [network] in foundry.toml)"
    );
    for (host, may) in [
        ("git.corp.example", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("[::1]", true),
        ("www.corp.example", false),
        ("10.0.0.7", false),
    ] {
        assert_eq!(network.clear_text(&Host::parse(host)).is_ok(), may, "{host}");
    }
}

#[test]
fn of_a_hosts_addresses_only_those_that_are_allowed_are_connected_to() {
    let rule = Rule::new(Addresses::Public, Arc::default());
    let found: Vec<SocketAddr> = ["127.0.0.1:1", "8.8.8.8:1"].map(|text| text.parse().unwrap()).into();
    let allowed = rule.allowed(&Host::parse("example.org"), found).unwrap();
    assert_eq!(allowed, ["8.8.8.8:1".parse().unwrap()]);
    let error = rule.resolve(&Host::parse("localhost"), 1).unwrap_err();
    assert!(PrivateAddress::within(&error).is_some(), "{error:?}");
}

/// Pieces of URLs that parsers have been fooled with.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "https://",
        "http://",
        "https:",
        "/",
        "//",
        "\\",
        "@",
        ":",
        ":443",
        ":8443",
        "?",
        "#",
        ".",
        "..",
        "%2e",
        "%2f",
        "%5c",
        "%40",
        "%00",
        "\t",
        "\n",
        "\u{3002}",
        "\u{ff0e}",
        "\u{ad}",
        "example.org",
        "EXAMPLE.ORG",
        "evil.net",
        "xn--",
        "[::1]",
        "127.1",
        "a",
        "*",
        "-",
        "_",
    ])
}

/// A host pattern, and what a host that it stands for ends in.
fn granted() -> impl Strategy<Value = (String, &'static str)> {
    let hosts = prop::sample::select(vec![
        ("example.org", ""),
        ("*.example.org", "."),
        ("git-*.example.org", "."),
    ]);
    let paths = prop::sample::select(vec!["", "/", "/*", "/a/*", "*/"]);
    (hosts, paths).prop_map(|((host, dot), path)| {
        let path = if path.starts_with('*') { "/*/*" } else { path };
        (format!("https://{host}{path}"), dot)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_pattern_never_covers_a_url_of_another_host(
        (text, dot) in granted(),
        pieces in prop::collection::vec(piece(), 1..10),
        begins_well in any::<bool>(),
    ) {
        let url = format!("{}{}", if begins_well { "https://" } else { "" }, pieces.concat());
        let Ok(url) = Url::parse(&url) else { return Ok(()) };
        let Some(target) = Target::of(&url) else { return Ok(()) };
        if pattern(&text).covers(&target) {
            let host = url.host_str().unwrap_or_default().trim_end_matches('.');
            let fits = if dot.is_empty() { host == "example.org" } else { host.ends_with(".example.org") };
            prop_assert!(fits, "{text} covers {url}");
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.port_or_known_default(), Some(443));
        }
    }

    #[test]
    fn a_text_that_is_a_pattern_covers_no_host_that_it_does_not_end_in(
        pieces in prop::collection::vec(piece(), 1..8),
    ) {
        // Whatever an operator writes after this, it must not mean hosts elsewhere.
        let text = format!("https://example.org{}", pieces.concat());
        let Ok(pattern) = text.parse::<Pattern>() else { return Ok(()) };
        let authority = text["https://".len()..].split(['/', '?']).next().unwrap();
        prop_assert!(!authority.contains('@'), "{text}");
        for other in ["https://evil.net/", "https://evil.net/example.org", "https://xexample.org/"] {
            prop_assert!(!pattern.covers(&web(other)), "{text} covers {other}");
        }
        let below = "https://example.org.evil.net/";
        prop_assert!(!pattern.covers(&web(below)) || ends_in_evil_net(authority), "{text} covers {below}");
    }

    #[test]
    fn a_glob_matches_what_its_definition_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
        prop_assert_eq!(Glob::new(&pattern).matches(&text), by_definition(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn nothing_that_is_written_makes_a_pattern_or_a_host_fail(text in ".{0,40}", url in ".{0,40}") {
        let host = Host::parse(&url);
        if let (Ok(pattern), Ok(url)) = (text.parse::<HostPattern>(), Url::parse(&format!("https://{url}/"))) {
            let _ = (pattern.matches(&host), Target::of(&url));
        }
        let _ = text.parse::<Pattern>();
    }
}

/// Whether a host is one below `evil.net`, however its port and the root's dot are written.
fn ends_in_evil_net(authority: &str) -> bool {
    let mut host = authority.strip_suffix(":443").unwrap_or(authority);
    let skipped = [".", "%2e", "\u{3002}", "\u{ff0e}", "\u{ad}"];
    while let Some(shorter) = skipped.iter().find_map(|end| host.strip_suffix(end)) {
        host = shorter;
    }
    host.ends_with("evil.net")
}

/// What stars mean, tried one by one.
fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', pattern)), _) => (0..=text.len()).any(|at| by_definition(pattern, &text[at..])),
        (Some((p, pattern)), Some((t, text))) => p == t && by_definition(pattern, text),
        _ => false,
    }
}
