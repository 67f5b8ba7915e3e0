//! What a server says of its refs: pkt-lines of the smart protocol (gitprotocol-pack), and the dumb protocol's
//! `info/refs`. Pure parsing; whoever reads the bytes is elsewhere.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::names::is_commit_id;

/// The largest advertisement that is read, in MiB.
const MAX_MIB: u64 = 64;

/// Branches and tags of a repository.
pub(super) const MAX_REFS: usize = 200_000;

/// The longest name of a ref: no longer one can be asked for.
const MAX_NAME: usize = 300;

/// A ref of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ref {
    /// Full name: `refs/heads/master`.
    pub name: String,
    /// The commit's id, lower-case hex; an annotated tag's peeled commit.
    pub commit: String,
}

/// Why an advertisement can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadAdvertisement {
    /// The connection failed, or ended too early.
    #[error(transparent)]
    Io(io::Error),
    /// It is beyond a limit, which this names.
    #[error("{0}")]
    TooLarge(String),
    /// The server reports an error instead: no such repository, as a rule.
    #[error("the server says: {0}")]
    Refused(String),
    /// It isn't git that answers.
    #[error("the answer is not git's: {0}")]
    Malformed(&'static str),
}

impl From<io::Error> for BadAdvertisement {
    fn from(error: io::Error) -> Self {
        match TooLong::is_within(&error) {
            true => Self::TooLarge(TooLong.to_string()),
            false => Self::Io(error),
        }
    }
}

/// An advertisement of more bytes than are read. Travels inside of an [`io::Error`], through libgit2 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its list of branches and tags is longer than {MAX_MIB} MiB")]
pub(super) struct TooLong;

impl TooLong {
    /// Whether an error is this one.
    pub(super) fn is_within(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// How many bytes of an advertisement may still come.
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_MIB << 20)
    }
}

impl Budget {
    /// Count bytes that came.
    ///
    /// # Errors
    /// [`TooLong`]: what ends silently would pass for a shorter list.
    pub(super) fn spend(&mut self, count: usize) -> io::Result<()> {
        let left = self.0.checked_sub(count as u64);
        self.0 = left.ok_or_else(|| io::Error::other(TooLong))?;
        Ok(())
    }
}

/// Reads an advertisement's bytes within a budget.
pub(super) struct Bounded<R> {
    from: R,
    budget: Budget,
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            budget: Budget::default(),
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.budget.spend(count)?;
        Ok(count)
    }
}

/// Read a smart server's advertisement (protocol version 0 or 1), up to its flush packet.
///
/// `service` says whether it begins with the line `# service=git-upload-pack`, as it does over HTTP.
pub(super) fn read_smart(from: &mut impl Read, service: bool) -> Result<Vec<Ref>, BadAdvertisement> {
    let from = &mut Bounded::new(from);
    if service {
        match read_packet(from)? {
            Some(line) if line.starts_with(b"# service=git-upload-pack") => {}
            Some(_) | None => return Err(BadAdvertisement::Malformed("it does not begin with the service's name")),
        }
        if read_packet(from)?.is_some() {
            return Err(BadAdvertisement::Malformed(
                "there is no flush packet after the service's name",
            ));
        }
    }
    let mut refs = Collector::default();
    while let Some(packet) = read_packet(from)? {
        let line = packet.split(|b| *b == 0).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\n');
        if let Some(why) = line.strip_prefix("ERR ") {
            return Err(BadAdvertisement::Refused(printable(why)));
        }
        if line.starts_with("version ") || line.starts_with("shallow ") {
            continue;
        }
        let (id, name) = line
            .split_once(' ')
            .ok_or(BadAdvertisement::Malformed("a line without a ref"))?;
        refs.add(id, name)?;
    }
    Ok(refs.finish())
}

/// Parse a dumb server's `info/refs`: an id, a tab, a name on each line.
pub(super) fn parse_dumb(text: &str) -> Result<Vec<Ref>, BadAdvertisement> {
    let mut refs = Collector::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (id, name) = line
            .split_once('\t')
            .ok_or(BadAdvertisement::Malformed("a line of info/refs without a tab"))?;
        refs.add(id, name)?;
    }
    Ok(refs.finish())
}

/// One packet's payload; none for a flush packet.
fn read_packet(from: &mut impl Read) -> Result<Option<Vec<u8>>, BadAdvertisement> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = std::str::from_utf8(&length)
        .ok()
        .and_then(|hex| usize::from_str_radix(hex, 16).ok());
    match length {
        Some(0) => Ok(None),
        Some(length @ 4..) => {
            let mut payload = vec![0; length - 4];
            from.read_exact(&mut payload)?;
            Ok(Some(payload))
        }
        Some(_) | None => Err(BadAdvertisement::Malformed("a packet without a length")),
    }
}

/// Keeps branches and tags, and replaces an annotated tag by what it points at, which follows as `NAME^{}`.
#[derive(Default)]
struct Collector(Vec<Ref>);

impl Collector {
    fn add(&mut self, id: &str, name: &str) -> Result<(), BadAdvertisement> {
        if !is_commit_id(id) {
            return Err(BadAdvertisement::Malformed("a line without an object's id"));
        }
        if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            return Ok(());
        }
        let is_full = self.0.len() == MAX_REFS;
        match (name.strip_suffix("^{}"), self.0.last_mut()) {
            (Some(tag), Some(last)) if last.name == tag => id.clone_into(&mut last.commit),
            // Of a tag that was left out.
            (Some(tag), _) if tag.len() > MAX_NAME => {}
            (Some(_), _) => return Err(BadAdvertisement::Malformed("a peeled tag without its tag")),
            // A name that no ref can have could only harm whoever believes it.
            (None, _) if name.len() > MAX_NAME || !git2::Reference::is_valid_name(name) => {}
            (None, _) if is_full => {
                let why = format!("it has more than {MAX_REFS} branches and tags");
                return Err(BadAdvertisement::TooLarge(why));
            }
            (None, _) => self.0.push(Ref {
                name: name.to_owned(),
                commit: id.to_owned(),
            }),
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Ref> {
        self.0.sort();
        self.0.dedup_by(|a, b| a.name == b.name);
        self.0
    }
}

/// A server's words, fit for a log: one short line without control characters.
pub(super) fn printable(text: &str) -> String {
    let line: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            match line.is_empty() {
                true => bytes.extend(b"0000"),
                false => bytes.extend(format!("{:04x}{line}", line.len() + 4).bytes()),
            }
        }
        bytes
    }

    fn names(refs: &[Ref]) -> Vec<(&str, &str)> {
        refs.iter().map(|r| (r.name.as_str(), &r.commit[..1])).collect()
    }

    #[test]
    fn a_smart_advertisement_has_branches_and_peeled_tags() {
        let lines = [
            "# service=git-upload-pack\n".to_owned(),
            String::new(),
            format!("{A} HEAD\0multi_ack side-band-64k symref=HEAD:refs/heads/master\n"),
            format!("{A} refs/heads/master\n"),
            format!("{A} refs/pull/1/head\n"),
            format!("{A} refs/tags/v1\n"),
            format!("{B} refs/tags/v1^{{}}\n"),
            String::new(),
        ];
        let bytes = packets(&lines.each_ref().map(String::as_str));
        let refs = read_smart(&mut bytes.as_slice(), true).unwrap();
        assert_eq!(names(&refs), [("refs/heads/master", "a"), ("refs/tags/v1", "b")]);
    }

    #[test]
    fn an_empty_repository_has_no_refs() {
        let line = format!("{} capabilities^{{}}\0multi_ack\n", "0".repeat(40));
        assert_eq!(read_smart(&mut packets(&[&line, ""]).as_slice(), false).unwrap(), []);
        assert_eq!(read_smart(&mut packets(&[""]).as_slice(), false).unwrap(), []);
    }

    #[test]
    fn a_dumb_server_lists_refs_with_tabs() {
        let refs = parse_dumb(&format!(
            "{A}\trefs/heads/master\n{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n"
        ))
        .unwrap();
        assert_eq!(names(&refs), [("refs/heads/master", "a"), ("refs/tags/v1", "b")]);
        assert!(parse_dumb("<!DOCTYPE html>\n").is_err());
    }

    #[test]
    fn a_servers_error_is_passed_on_in_one_line() {
        let error = read_smart(
            &mut packets(&["ERR access denied\x1b[31m\nor not exported\n"]).as_slice(),
            false,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "the server says: access denied [31m or not exported");
    }

    #[test]
    fn an_advertisement_that_is_cut_off_or_foreign_is_refused() {
        let whole = packets(&[&format!("{A} refs/heads/master\n"), ""]);
        for length in 0..whole.len() {
            assert!(read_smart(&mut &whole[..length], false).is_err(), "{length}");
        }
        assert!(read_smart(&mut b"HTTP/1.1 400 Bad Request\r\n".as_slice(), false).is_err());
        assert!(read_smart(&mut b"0003".as_slice(), false).is_err());
        assert!(read_smart(&mut packets(&["zzzz refs/heads/x", ""]).as_slice(), false).is_err());
    }

    #[test]
    fn an_advertisement_beyond_a_limit_is_refused_by_the_name_of_the_limit() {
        let line = |at: usize| format!("{A}\trefs/heads/{at}\n");
        let most: String = (0..MAX_REFS).map(line).collect();
        assert_eq!(parse_dumb(&most).unwrap().len(), MAX_REFS);
        let error = parse_dumb(&(most + &line(MAX_REFS))).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 200000 branches and tags");

        let packet = packets(&[&format!("{A} refs/pull/{}\n", "x".repeat(60_000))]);
        // Never ends, and has nothing that would be kept.
        let mut endless = std::iter::repeat(packet.as_slice()).flatten().copied();
        let mut endless = ByteReader(&mut endless);
        let error = read_smart(&mut endless, false).unwrap_err();
        assert_eq!(error.to_string(), "its list of branches and tags is longer than 64 MiB");
    }

    struct ByteReader<'a, I>(&'a mut I);

    impl<I: Iterator<Item = u8>> Read for ByteReader<'_, I> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut count = 0;
            for (place, byte) in buffer.iter_mut().zip(&mut *self.0) {
                *place = byte;
                count += 1;
            }
            Ok(count)
        }
    }

    #[test]
    fn bytes_up_to_the_limit_are_read_and_no_more() {
        let bounded = |bytes| Bounded {
            from: bytes,
            budget: Budget(4),
        };
        let mut all = Vec::new();
        assert_eq!(bounded(&b"1234"[..]).read_to_end(&mut all).unwrap(), 4);
        let error = bounded(&b"12345"[..]).read_to_end(&mut all).unwrap_err();
        assert!(TooLong::is_within(&error));
    }

    #[test]
    fn a_name_that_no_ref_can_have_is_left_out() {
        let refs = parse_dumb(&format!("{A}\trefs/heads/../../x\n{A}\trefs/heads/ok\n")).unwrap();
        assert_eq!(names(&refs), [("refs/heads/ok", "a")]);
    }
}
