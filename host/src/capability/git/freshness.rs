//! Which entity tags can be trusted. Web servers make them of a file's time, in whole seconds, and its size; and a
//! branch that moves twice within a second leaves `info/refs` with the same of both.

use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

/// A file that was changed less than this before it was served may change again without another tag.
const SETTLED: Duration = Duration::seconds(2);

/// The entity tag of an answer, if an unchanged tag will mean an unchanged file.
pub(super) fn trustworthy_etag<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let etag = header("etag")?.to_owned();
    match header("last-modified") {
        None => Some(etag),
        Some(modified) => (moment(header("date")?)? - moment(modified)? >= SETTLED).then_some(etag),
    }
}

/// The preferred format of HTTP's dates (RFC 9110 section 5.6.7).
fn moment(date: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&date.replace(" GMT", " +0000"), &Rfc2822).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(headers: &[(&str, &'static str)]) -> Option<String> {
        trustworthy_etag(|name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
    }

    #[test]
    fn a_tag_of_a_file_that_was_just_changed_is_not_trusted() {
        let modified = ("last-modified", "Mon, 23 Nov 2026 09:00:00 GMT");
        assert_eq!(
            etag(&[("etag", "x"), modified, ("date", "Mon, 23 Nov 2026 09:00:01 GMT")]),
            None
        );
        assert_eq!(
            etag(&[("etag", "x"), modified, ("date", "Mon, 23 Nov 2026 09:00:02 GMT")]).as_deref(),
            Some("x")
        );
        assert_eq!(etag(&[("etag", "x"), modified]), None);
        assert_eq!(etag(&[("etag", "x"), modified, ("date", "yesterday")]), None);
    }

    #[test]
    fn a_tag_without_a_time_is_of_the_content() {
        assert_eq!(etag(&[("etag", "x")]).as_deref(), Some("x"));
        assert_eq!(etag(&[]), None);
    }
}
