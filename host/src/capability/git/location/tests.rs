//! What text is a location, and what of it is shown.

use super::*;
use crate::capability::git::GitError;

fn shown(text: &str) -> String {
    Location::parse(text).unwrap().to_string()
}

fn assert_refused(text: &str) {
    let parsed = Location::parse(text);
    assert!(matches!(parsed, Err(GitError::BadRequest { .. })), "{text:?}");
}

#[test]
fn every_transport_of_the_contract_is_understood() {
    assert_eq!(shown("/srv/git/x.git"), "/srv/git/x.git");
    assert_eq!(shown("file:///srv/git/x.git"), "/srv/git/x.git");
    assert_eq!(shown("https://example.org/x.git/"), "https://example.org/x.git");
    assert_eq!(shown("http://example.org:8080/x"), "http://example.org:8080/x");
    assert_eq!(shown("git://example.org/x"), "git://example.org/x");
    assert_eq!(shown("git://[::1]:99/x"), "git://[::1]:99/x");
    assert_eq!(shown("ssh://git@example.org:2222/x"), "ssh://git@example.org:2222/x");
    assert_eq!(shown("git@example.org:team/x.git"), "ssh://git@example.org/team/x.git");
}

#[test]
fn an_scp_path_is_relative_to_the_home_and_a_tilde_is_kept() {
    let path = |text| match Location::parse(text).unwrap() {
        Location::Ssh(ssh) => ssh.path,
        other => panic!("{other}"),
    };
    assert_eq!(path("host:x.git"), "x.git");
    assert_eq!(path("ssh://host/x.git"), "/x.git");
    assert_eq!(path("ssh://host/~me/x.git"), "~me/x.git");
}

#[test]
fn a_password_is_used_but_never_shown() {
    let location = Location::parse("https://me:s%40cret@example.org/x.git").unwrap();
    assert!(location.has_password());
    for shown in [
        location.to_string(),
        format!("{location:?}"),
        GitError::not_found(&location, "x").to_string(),
    ] {
        assert!(!shown.contains("cret") && !shown.contains("me:"), "{shown}");
    }
    let Location::Http(http) = location else { panic!() };
    assert_eq!(
        (http.user.as_deref(), http.password.as_deref()),
        (Some("me"), Some("s@cret"))
    );
    assert!(!format!("{http:?}").contains("cret"));
}

#[test]
fn a_refused_url_does_not_leak_its_password() {
    for text in [
        "ftp://me:secret@example.org/x",
        "https://me:secret@/x",
        "me:secret@host:x",
        "ssh://me:secret@host/x",
    ] {
        let error = Location::parse(text).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn helper_transports_options_and_control_characters_are_refused() {
    for text in [
        "",
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "-uupload",
        "--upload-pack=id",
        "ssh://-oProxyCommand=id/x",
        "-oProxyCommand=id:x",
        "host:-x",
        "u -x@host:p",
        "https://example.org/x\n",
        "https://example.org/x?y",
        "https://example.org/x#y",
        "ftp://example.org/x",
        "relative/path",
        "file://elsewhere/x",
    ] {
        assert_refused(text);
    }
}

#[test]
fn every_location_is_covered_by_the_grant_that_it_is_and_by_that_grants_text() {
    for text in [
        "/srv/git/x.git",
        "file:///srv/git/x.git",
        "https://me:secret@Example.org:8443/x.git/",
        "https://example.org/*/x.git",
        "git@example.org:team/x.git",
        "ssh://git@example.org:2222/~me/x.git",
        "git://[::1]:99/x",
    ] {
        let location = Location::parse(text).unwrap();
        let pattern = location.pattern();
        assert!(pattern.covers(&location.target()), "{text}");
        assert!(!pattern.to_string().contains("secret"), "{pattern}");
        let read: Pattern = pattern.to_string().parse().unwrap();
        assert!(read.covers(&location.target()), "{text}: {read}");
    }
    let odd = Location::parse("file:///srv/a%23b").unwrap();
    assert!(odd.pattern().covers(&odd.target()));
    assert!(odd.pattern().to_string().parse::<Pattern>().is_ok());
}

#[test]
fn a_path_cannot_climb_out_of_a_grant() {
    for text in [
        "/srv/git/../../etc",
        "/srv/./x",
        "file:///srv/../etc",
        "https://example.org/public/../private",
        "https://example.org/public/%2e%2E/private",
        "https://example.org/public/..%2fprivate",
        "https://example.org/public/..\\private",
        "ssh://host/a/../b",
        "host:../b",
        "git://host/../b",
    ] {
        assert_refused(text);
    }
}
