//! Taking an old signature off a text, so that it can be signed anew: debsign does the same with a .dsc or .changes that
//! its maintainer has signed.

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// The text without its clear signature (RFC 9580 section 7), which is not checked; as it is if it has none. None if it
/// begins as a signed text and isn't one, or has anything outside of the signature.
pub fn unsigned(text: &str) -> Option<String> {
    let mut lines = text.lines().peekable();
    if lines.peek().is_none_or(|line| line.trim_end() != BEGIN) {
        return Some(text.to_owned());
    }
    lines.next();
    for header in lines.by_ref() {
        if header.trim_end().is_empty() {
            break;
        }
        // Any other line would be text that a careless reader takes for signed.
        header.strip_prefix("Hash:")?;
    }
    let mut content = String::with_capacity(text.len());
    loop {
        let line = lines.next()?;
        if line.trim_end() == SIGNATURE {
            break;
        }
        content += line.strip_prefix("- ").unwrap_or(line);
        content.push('\n');
    }
    lines.by_ref().find(|line| line.trim_end() == END)?;
    lines.all(|line| line.trim_end().is_empty()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::unsigned;

    const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nFormat: 1.8\nDescription:\n - a\n- - b\n\n\
        -----BEGIN PGP SIGNATURE-----\n\niHUEARYK\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn the_text_comes_back_without_dashes_added_to_it() {
        assert_eq!(unsigned(SIGNED).unwrap(), "Format: 1.8\nDescription:\n - a\n- b\n\n");
    }

    #[test]
    fn a_text_without_signature_stays_as_it_is() {
        for text in ["", "Format: 1.8\n", "no newline"] {
            assert_eq!(unsigned(text).unwrap(), text);
        }
    }

    #[test]
    fn text_outside_of_the_signature_is_refused() {
        assert_eq!(unsigned(&format!("{SIGNED}Files:\n")), None);
        assert_eq!(
            unsigned(&SIGNED.replace("Hash: SHA512", "Hash: SHA512\nFiles: x")),
            None
        );
        assert_eq!(unsigned(&SIGNED.replace("-----END PGP SIGNATURE-----\n", "")), None);
        assert_eq!(unsigned("-----BEGIN PGP SIGNED MESSAGE-----\n\ntext\n"), None);
    }
}
