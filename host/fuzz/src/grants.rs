//! Grants of topics and of mail.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::lines;
use crate::mail::MailPattern;
use crate::topic_grants::{PublishGrant, ReadGrant, TopicFilter, is_hosts_own};

/// A grant and what asks for it: a grant is stored as it was, no grant reaches the hosts' own topics, and mail goes to nobody below
/// whose domain the grant does not end.
pub fn grants(bytes: &[u8]) {
    let Some((text, asked)) = lines(bytes) else { return };
    same_again::<TopicFilter>(text);
    let read = same_again::<ReadGrant>(text).is_some_and(|grant| grant.allows(asked));
    let publish = same_again::<PublishGrant>(text).is_some_and(|grant| grant.reaches(asked));
    assert!(!(is_hosts_own(asked) && (read || publish)), "{text} reaches {asked}");
    if let (Some(grant), Ok(address)) = (same_again::<MailPattern>(text), asked.parse::<lettre::Address>()) {
        let (_, below) = text.rsplit_once('@').expect("it was parsed");
        if grant.allows(&address) && !below.contains('*') {
            assert_eq!(host(below), host(address.domain()), "{text} allows {asked}");
        }
    }
}

fn host(text: &str) -> crate::reach::Host {
    crate::reach::Host::parse(text)
}

/// Parse a text; what it is is the same after it was written and read.
fn same_again<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    let parsed: T = text.parse().ok()?;
    let again = parsed.to_string().parse().ok();
    assert_eq!(again.as_ref(), Some(&parsed));
    Some(parsed)
}
