//! Texts that carry a signature (RFC 9580 section 7).

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// Why a clear-signed text can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArmourError {
    /// The frame isn't complete.
    #[error("its signature's frame is not complete")]
    Incomplete,
    /// There is text outside of the frame, which no signature covers.
    #[error("it has text outside of its signature's frame")]
    Outside,
}

/// The text inside of a clear signature, or the text itself if it isn't signed.
///
/// Who signed it was checked before it came here: the event that names it by its digest is signed.
///
/// # Errors
/// [`ArmourError`] if the frame is broken.
pub fn strip(text: &str) -> Result<String, ArmourError> {
    let mut lines = text.lines();
    let first = lines.by_ref().find(|line| !line.trim().is_empty());
    if first.map(str::trim_end) != Some(BEGIN) {
        let framed = text.lines().any(|line| line.trim_end() == BEGIN);
        return if framed {
            Err(ArmourError::Outside)
        } else {
            Ok(text.to_owned())
        };
    }
    if !lines.by_ref().any(|line| line.trim().is_empty()) {
        return Err(ArmourError::Incomplete);
    }
    let mut inside = String::with_capacity(text.len());
    let mut signed = false;
    for line in lines.by_ref() {
        if line.trim_end() == SIGNATURE {
            signed = true;
            break;
        }
        // Lines that begin with a dash have been escaped.
        let line = line.strip_prefix("- ").unwrap_or(line);
        if line.starts_with("-----BEGIN PGP") && line.trim_end() == BEGIN {
            return Err(ArmourError::Outside);
        }
        inside.push_str(line);
        inside.push('\n');
    }
    if !signed || !lines.by_ref().any(|line| line.trim_end() == END) {
        return Err(ArmourError::Incomplete);
    }
    if lines.any(|line| !line.trim().is_empty()) {
        return Err(ArmourError::Outside);
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(text: &str) -> String {
        format!("{BEGIN}\nHash: SHA512\n\n{text}{SIGNATURE}\n\niQ==\n=abcd\n{END}\n")
    }

    #[test]
    fn the_signed_text_comes_out() {
        assert_eq!(strip("Format: 1\n").unwrap(), "Format: 1\n");
        assert_eq!(
            strip(&signed("Format: 1\n- -dash\nx\n")).unwrap(),
            "Format: 1\n-dash\nx\n"
        );
    }

    #[test]
    fn text_that_no_signature_covers_is_refused() {
        assert_eq!(strip(&format!("Evil: 1\n{}", signed("a\n"))), Err(ArmourError::Outside));
        assert_eq!(strip(&format!("{}Evil: 1\n", signed("a\n"))), Err(ArmourError::Outside));
        assert_eq!(strip(&signed(&format!("{BEGIN}\n\nb\n"))), Err(ArmourError::Outside));
        for cut in [BEGIN, SIGNATURE, END] {
            let text = signed("a\n");
            let cut = text.find(cut).unwrap() + cut.len() - 3;
            assert!(strip(&text[..cut]) != Ok("a\n".to_owned()));
        }
    }
}
