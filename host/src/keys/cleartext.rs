//! The cleartext signature framework (RFC 9580, section 7): text that stays readable and carries its signature.
//!
//! What is hashed is the *canonical* text: spaces, tabs and carriage returns at the ends of lines don't count, lines
//! end with CR LF, and the line end before the signature is not part of the text. gpg does the same; crate pgp leaves
//! trailing blanks in when it signs (and takes them out when it verifies), so the framing is done here.

use thiserror::Error;

const BEGIN_MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &[u8] = b"-----END PGP SIGNATURE-----";

/// Why a document is not one clear-signed text and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotClearSigned {
    /// Unsigned, or something precedes the signed text.
    #[error("it does not begin with the line -----BEGIN PGP SIGNED MESSAGE-----")]
    NoBegin,
    /// Only `Hash:` headers are covered by the framework's rules.
    #[error("it has a header other than Hash before the text")]
    Header,
    /// The document ends too early.
    #[error("it ends before the signature does")]
    Truncated,
    /// The line could be mistaken for the framework's own.
    #[error("line {line} of it begins with a dash that is not escaped")]
    Unescaped {
        /// Counted from 1.
        line: usize,
    },
    /// What follows is not signed, and readers may disagree on what it belongs to.
    #[error("something follows the signature")]
    Trailing,
}

/// A clear-signed document, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClearSigned<'a> {
    /// The text as it was given to the signer, to the byte.
    pub text: Vec<u8>,
    /// The armoured signature.
    pub signature: &'a [u8],
}

/// The text as it is hashed.
pub(super) fn canonical(text: &[u8]) -> Vec<u8> {
    join_trimmed(text, b"\r\n")
}

/// The signed content of a text: its lines without what the signature does not cover, ended by line feeds.
pub(super) fn signed_content(text: &[u8]) -> Vec<u8> {
    join_trimmed(text, b"\n")
}

fn join_trimmed(text: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(text.len() + text.len() / 16);
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if at > 0 {
            joined.extend_from_slice(line_end);
        }
        joined.extend_from_slice(trim_end(line));
    }
    joined
}

fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

/// Whether the document begins as a clear-signed one does.
pub(super) fn is_clear_signed(document: &[u8]) -> bool {
    document.starts_with(BEGIN_MESSAGE)
}

/// Puts a text and its armoured signature together.
pub(super) fn frame(text: &[u8], hash: &str, signature: &[u8]) -> Vec<u8> {
    let mut document = Vec::with_capacity(text.len() + text.len() / 16 + signature.len() + 128);
    document.extend_from_slice(BEGIN_MESSAGE);
    document.extend_from_slice(format!("\nHash: {hash}\n\n").as_bytes());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"-") {
            document.extend_from_slice(b"- ");
        }
        document.extend_from_slice(line);
    }
    document.push(b'\n');
    document.extend_from_slice(signature);
    document
}

/// Takes a document apart. Stricter than gpg: nothing may stand before, between or after.
pub(super) fn parse(document: &[u8]) -> Result<ClearSigned<'_>, NotClearSigned> {
    let mut lines = document.split_inclusive(|byte| *byte == b'\n').enumerate();
    let mut offset = 0;
    let mut next = || {
        let (at, line) = lines.next()?;
        offset += line.len();
        Some((at + 1, line, offset))
    };

    let (_, first, _) = next().ok_or(NotClearSigned::NoBegin)?;
    if trim_end(without_newline(first)) != BEGIN_MESSAGE {
        return Err(NotClearSigned::NoBegin);
    }
    loop {
        let (_, line, _) = next().ok_or(NotClearSigned::Truncated)?;
        match without_newline(line) {
            b"" | b"\r" => break,
            header if header.starts_with(b"Hash: ") => {}
            _ => return Err(NotClearSigned::Header),
        }
    }
    let mut text = Vec::with_capacity(document.len());
    let signature_start = loop {
        let (number, line, end) = next().ok_or(NotClearSigned::Truncated)?;
        if let Some(escaped) = line.strip_prefix(b"- ") {
            text.extend_from_slice(escaped);
        } else if trim_end(without_newline(line)) == BEGIN_SIGNATURE {
            break end - line.len();
        } else if line.starts_with(b"-") {
            return Err(NotClearSigned::Unescaped { line: number });
        } else {
            text.extend_from_slice(line);
        }
    };
    // The line end before the signature belongs to the frame, in the frame's own style.
    let line_end: &[u8] = if first.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    if let Some(length) = text.strip_suffix(line_end).map(<[u8]>::len) {
        text.truncate(length);
    }
    loop {
        let (_, line, end) = next().ok_or(NotClearSigned::Truncated)?;
        if trim_end(without_newline(line)) == END_SIGNATURE {
            let (signature, rest) = document.split_at_checked(end).ok_or(NotClearSigned::Truncated)?;
            if !rest.iter().all(u8::is_ascii_whitespace) {
                return Err(NotClearSigned::Trailing);
            }
            let signature = signature.get(signature_start..).ok_or(NotClearSigned::Truncated)?;
            return Ok(ClearSigned { text, signature });
        }
    }
}

fn without_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z -]{0,6}[ \t\r]{0,2}",
            Just("-----BEGIN PGP SIGNATURE-----".to_owned()),
            Just("- ".to_owned()),
            "\\PC{0,4}"
        ]
    }

    proptest! {
        #[test]
        fn any_text_comes_out_as_it_went_in(lines in proptest::collection::vec(line(), 0..8), end in prop_oneof![Just(""), Just("\n"), Just("\r\n"), Just("\n\n")]) {
            let text = lines.join("\n") + end;
            let document = frame(text.as_bytes(), "SHA512", SIGNATURE);
            let parsed = parse(&document).unwrap();
            prop_assert_eq!(parsed.text, text.as_bytes());
            prop_assert_eq!(parsed.signature, SIGNATURE);
        }

        #[test]
        fn parsing_anything_never_panics(document in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&document);
            let _ = parse(&[BEGIN_MESSAGE, b"\n", &document].concat());
        }
    }

    #[test]
    fn what_is_hashed_has_no_trailing_blanks() {
        assert_eq!(canonical(b"a \t\nb\r\n\n- c"), b"a\r\nb\r\n\r\n- c");
        assert_eq!(canonical(b""), b"");
    }

    #[test]
    fn text_outside_of_the_signature_is_refused() {
        let good = frame(b"text\n", "SHA512", SIGNATURE);
        assert!(parse(&good).is_ok());
        let text = String::from_utf8(good.clone()).unwrap();
        let cases = [
            (format!("unsigned\n{text}"), NotClearSigned::NoBegin),
            (format!("{text}unsigned\n"), NotClearSigned::Trailing),
            (format!("{text}{text}"), NotClearSigned::Trailing),
            (text.replace("Hash:", "NotDashEscaped:"), NotClearSigned::Header),
            (text.replace("\n\ntext", "\nComment: x\n\ntext"), NotClearSigned::Header),
            (text.replace("text\n", "-text\n"), NotClearSigned::Unescaped { line: 4 }),
            (text.replace("-----END", "----END"), NotClearSigned::Truncated),
            (
                text.replace("-----BEGIN PGP SIGNATURE", "BEGIN"),
                NotClearSigned::Unescaped { line: 9 },
            ),
        ];
        for (document, expected) in cases {
            assert_eq!(parse(document.as_bytes()), Err(expected), "{document}");
        }
    }
}
