//! Requests beside grants.

use super::*;

fn grants(texts: &[&str]) -> Vec<SourceGrant> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn refusal(granted: &[&str], asked: &str) -> String {
    admit(&grants(granted), asked).unwrap_err().to_string()
}

#[test]
fn a_source_is_covered_part_by_part() {
    let granted = ["https://apt.example.org/debian/* trixie* main contrib"];
    for asked in [
        "deb https://apt.example.org/debian/team trixie main",
        "deb [arch=amd64] https://APT.example.org:443/debian/team/ trixie-updates contrib main",
        "Types: deb\nURIs: https://apt.example.org/debian/a https://apt.example.org/debian/b\nSuites: trixie\nComponents: main",
    ] {
        assert!(admit(&grants(&granted), asked).is_ok(), "{asked}");
    }
    for asked in [
        "deb http://apt.example.org/debian/team trixie main",
        "deb https://apt.example.org:8443/debian/team trixie main",
        "deb https://apt.example.org.evil.net/debian/team trixie main",
        "deb https://apt.example.org/other trixie main",
        "deb https://apt.example.org/debian/../other trixie main",
        "deb https://apt.example.org/debian/..%2fother trixie main",
        "deb https://apt.example.org/debian/team sid main",
        "deb https://apt.example.org/debian/team trixie/../../../other main",
        "deb https://apt.example.org/debian/team trixie non-free",
        "deb https://apt.example.org/debian/team trixie",
        "deb https://apt.example.org?x@evil.net/debian/team trixie main",
        "deb https://user:x@apt.example.org/debian/team trixie main",
        "deb https://apt.example.org\\@evil.net/debian/team trixie main",
        "deb mirror+https://apt.example.org/debian/team trixie main",
        "deb file:/debian/team trixie main",
        "Types: deb\nURIs: https://apt.example.org/debian/a https://evil.net/b\nSuites: trixie\nComponents: main",
        "Types: deb\nURIs: https://apt.example.org/debian/a\nSuites: trixie sid\nComponents: main",
    ] {
        let why = refusal(&granted, asked);
        assert!(
            why.contains("is not granted to this bot (add --allow-apt '"),
            "{asked}: {why}"
        );
    }
}

#[test]
fn what_switches_the_check_of_signatures_off_is_covered_only_where_the_grant_says_so() {
    let granted = ["https://apt.example.org/* trixie main"];
    for option in [
        "trusted=yes",
        "allow-insecure=yes",
        "allow-weak=yes",
        "allow-downgrade-to-insecure=yes",
        "check-valid-until=no",
        "check-date=no",
        "signed-by=/usr/share/keyrings/other.gpg",
        "snapshot=20250101",
        "an-option-of-later=yes",
    ] {
        let asked = format!("deb [arch=amd64 {option}] https://apt.example.org/ trixie main");
        let why = refusal(&granted, &asked);
        assert_eq!(
            why,
            format!(
                "the option {option} of the package source https://apt.example.org/ trixie main is not granted to this bot \
                 (add --allow-apt '[{option}] https://apt.example.org/ trixie main')"
            )
        );
        let said = format!("[{option}] https://apt.example.org/* trixie main");
        assert!(admit(&grants(&[&said]), &asked).is_ok(), "{said}");
    }
    let stanza = "Types: deb\nURIs: https://apt.example.org/\nSuites: trixie\nComponents: main\nTrusted : YES";
    assert!(refusal(&granted, stanza).contains("the option trusted=yes of"));
}

#[test]
fn what_the_operator_wrote_as_an_option_is_granted_as_it_is_and_nothing_beside_it() {
    let own = "deb [trusted=yes] http://127.0.0.1:8080/ ./";
    let granted = [SourceGrant::written(own).unwrap()];
    assert_eq!(admit(&granted, own).unwrap().1, Addresses::Named);
    assert_eq!(granted[0].to_string(), "[trusted=yes] http://127.0.0.1:8080/ ./");
    for other in [
        "deb [trusted=yes] http://127.0.0.1:8081/ ./",
        "deb [trusted=yes] http://127.0.0.1:8080/ ./other/",
        "deb [trusted=yes allow-weak=yes] http://127.0.0.1:8080/ ./",
    ] {
        assert!(admit(&granted, other).is_err(), "{other}");
    }
}

#[test]
fn a_name_may_lead_to_public_addresses_and_an_address_to_itself() {
    let asked = |granted: &str, asked: &str| admit(&grants(&[granted]), asked).unwrap().1;
    assert_eq!(
        asked("http://*/ ./", "deb http://127.0.0.1/ ./"),
        Addresses::Public,
        "a star names no address"
    );
    assert_eq!(
        asked("http://127.0.0.1/ ./", "deb http://127.0.0.1/ ./"),
        Addresses::Named
    );
    assert_eq!(
        asked("http://apt.example.org/ ./", "deb http://apt.example.org/ ./"),
        Addresses::Public
    );
}

#[test]
fn what_is_shown_of_a_grant_has_no_password_and_no_key_and_is_read_again() {
    for (own, shown) in [
        (
            "deb https://me:secret@apt.example.org/ trixie main",
            "https://apt.example.org/ trixie main",
        ),
        (
            "deb mirror+file:/etc/mirrors trixie main",
            "mirror+file:/etc/mirrors trixie main",
        ),
        (
            "Types: deb\nURIs: http://x/\nSuites: ./\nSigned-By:\n -----BEGIN\n abc",
            "[signed-by=…] http://x/ ./",
        ),
    ] {
        let grant = SourceGrant::written(own).unwrap();
        assert_eq!(grant.to_string(), shown);
        assert_eq!(SourceGrant::from(String::from(grant)).to_string(), shown);
    }
    assert_eq!(SourceGrant::written("nothing"), None);
}

#[test]
fn a_grant_that_would_cover_the_sources_of_others_is_none() {
    for text in [
        "",
        "*",
        "https://example.org* trixie",
        "[trusted] https://x/",
        "[trusted=yes https://x/",
        "ftp://x/ sid",
    ] {
        assert!(text.parse::<SourceGrant>().is_err(), "{text}");
    }
}

#[test]
fn a_source_that_apt_could_read_otherwise_is_none() {
    for text in [
        "deb https://x/\r sid main",
        "deb https://x/ sid\u{1b}[2J main",
        &"deb ".repeat(LONGEST),
    ] {
        assert!(
            matches!(admit(&grants(&["https://x/"]), text), Err(SourceRefusal::Malformed(_))),
            "{text:.40}"
        );
    }
}
