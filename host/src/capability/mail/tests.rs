//! Addresses, patterns and what is written, without a server; `host/tests/mail.rs` has one.

use super::letter::message_id;
use super::{Letter, Mail, MailError, MailPattern};

fn letter(to: &[&str]) -> Letter {
    Letter {
        to: to.iter().map(ToString::to_string).collect(),
        subject: "Grüße".to_owned(),
        text: "eins\nzwei\n.\n".to_owned(),
        id: "0123".to_owned(),
    }
}

fn granted(patterns: &[&str]) -> Vec<MailPattern> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

#[test]
fn a_pattern_compares_what_is_before_the_at_and_after_it() {
    let allows = |pattern: &str, address: &str| granted(&[pattern])[0].allows(&address.parse().unwrap());
    assert!(allows("*@example.org", "jo@Example.ORG"));
    assert!(allows("jo+*@example.org", "jo+foundry@example.org"));
    assert!(allows("jo@*.example.org", "jo@lists.example.org"));
    assert!(!allows("*@example.org", "jo@example.org.evil.net"));
    assert!(!allows("*@example.org", "jo@lists.example.org"));
    assert!(!allows("jo@example.org", "Jo2@example.org"));
    for bad in [
        "example.org",
        "@example.org",
        "jo@",
        "a b@example.org",
        "jo@x@example.org",
        "jo@exa\r\nmple.org",
    ] {
        assert!(bad.parse::<MailPattern>().is_err(), "{bad}");
    }
}

#[test]
fn a_pattern_ends_in_a_domain_that_somebody_owns() {
    for (open, better) in [
        ("*@example.org*", "example.org, or *.example.org"),
        ("*@example.*", "example, or *.example"),
        ("jo@*example.org", "example.org, or *.example.org"),
    ] {
        let error = open.parse::<MailPattern>().unwrap_err().to_string();
        assert!(error.contains("hosts of others") && error.contains(better), "{error}");
    }
    assert!("jo@example.org:25".parse::<MailPattern>().is_err());
    let everybody: MailPattern = "*@*".parse().unwrap();
    assert!(everybody.allows(&"jo@example.net".parse().unwrap()));
    let stored = serde_json::to_string(&everybody).unwrap();
    assert_eq!(serde_json::from_str::<MailPattern>(&stored).unwrap(), everybody);
}

#[test]
fn only_plain_addresses_that_are_granted_get_mail() {
    let granted = granted(&["*@example.org"]);
    assert!(letter(&["jo@example.org", "a.b+c@example.org"]).check(&granted).is_ok());
    let refusal = |to: &[&str]| letter(to).check(&granted).unwrap_err();
    assert_eq!(
        refusal(&["jo@example.org", "jo@example.net"]),
        MailError::NotGranted("jo@example.net".to_owned())
    );
    for to in [
        "jo",
        "jo@example.org>\r\nRCPT TO:<x@example.org",
        "jo@example.org\r\nBcc: x@example.net",
        "\"jo\"@example.org",
        "Jo <jo@example.org>",
        "jo@example.org, x@example.org",
        "jö@example.org",
        "<jo@example.org",
        "jo @example.org",
    ] {
        assert!(matches!(refusal(&[to]), MailError::BadRequest(_)), "{to}");
    }
    assert!(matches!(refusal(&[]), MailError::BadRequest(_)));
    assert!(matches!(refusal(&["jo@example.org"; 51]), MailError::BadRequest(_)));
}

#[test]
fn no_text_becomes_a_header_field() {
    let granted = granted(&["*@example.org"]);
    let check = |change: &dyn Fn(&mut Letter)| {
        let mut letter = letter(&["jo@example.org"]);
        change(&mut letter);
        letter.check(&granted).err()
    };
    for subject in ["x\r\nBcc: all@example.org", "x\nX-Y: z", "x\0", "x\u{85}y"] {
        let refused = check(&|letter| letter.subject = subject.to_owned());
        assert!(matches!(refused, Some(MailError::BadRequest(_))), "{subject:?}");
    }
    let long = check(&|letter| letter.subject = "x".repeat(401));
    assert!(matches!(long, Some(MailError::BadRequest(_))));
    assert!(matches!(
        check(&|letter| letter.text = "\u{1b}[2J".to_owned()),
        Some(MailError::BadRequest(_))
    ));
    assert_eq!(
        check(&|letter| letter.text = "x".repeat(300 * 1024)),
        Some(MailError::TooLarge)
    );
}

#[test]
fn a_mail_says_that_a_program_wrote_it_and_which_it_is() {
    let letter = letter(&["jo@example.org", "al@example.org"]);
    let recipients = letter.check(&granted(&["*@example.org"])).unwrap();
    let from = "Foundry <foundry@example.net>".parse().unwrap();
    let mail = String::from_utf8(letter.compose(&from, &recipients).unwrap()).unwrap();
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    for field in [
        "From: Foundry <foundry@example.net>",
        "To: jo@example.org, al@example.org",
        "Message-ID: <0123@example.net>",
        "Auto-Submitted: auto-generated",
        "Content-Type: text/plain; charset=utf-8",
    ] {
        assert!(head.lines().any(|line| line == field), "{field}\n{head}");
    }
    assert!(head.is_ascii() && head.contains("Subject: =?utf-8?"), "{head}");
    assert!(head.contains("Date: "), "{head}");
    assert!(body.contains("eins\r\nzwei\r\n"), "{body:?}");
    assert_eq!(message_id("0123", "example.net"), "<0123@example.net>");
}

#[test]
fn a_host_without_a_server_says_so() {
    let mail = Mail::new(None).unwrap();
    let error = mail
        .send("bot", &letter(&["jo@example.org"]), &granted(&["*@example.org"]))
        .unwrap_err();
    assert!(
        matches!(&error, MailError::Unavailable(why) if why.contains("[mail] in foundry.toml")),
        "{error}"
    );
}
