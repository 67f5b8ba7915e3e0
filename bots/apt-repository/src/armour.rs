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

/// One clear-signed text out of two copies of it that different keys signed. None if they aren't copies of one text.
#[must_use]
pub fn join_clear(first: &str, second: &str) -> Option<String> {
    let (first, second) = (Clear::parse(first)?, Clear::parse(second)?);
    if first.body != second.body {
        return None;
    }
    let mut hashes = first.hashes;
    hashes.extend(second.hashes);
    hashes.sort_unstable();
    hashes.dedup();
    let signature = join_signatures(first.signature, second.signature)?;
    Some(format!(
        "{BEGIN}\nHash: {}\n\n{}{signature}",
        hashes.join(", "),
        first.body
    ))
}

/// One armoured signature out of two over the same bytes: readers take each that they have the key of.
#[must_use]
pub fn join_signatures(first: &str, second: &str) -> Option<String> {
    let mut packets = packets(first)?;
    packets.extend(self::packets(second)?);
    let mut armoured = format!("{SIGNATURE}\n\n");
    for line in encode(&packets).as_bytes().chunks(64) {
        armoured.extend(line.iter().copied().map(char::from));
        armoured.push('\n');
    }
    Some(armoured + END + "\n")
}

/// A clear-signed text, taken apart.
struct Clear<'a> {
    hashes: Vec<&'a str>,
    /// The text with its dashes escaped, up to the signature.
    body: &'a str,
    signature: &'a str,
}

impl<'a> Clear<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (headers, rest) = text.strip_prefix(BEGIN)?.trim_start_matches('\r').split_once("\n\n")?;
        let hashes = headers.lines().filter_map(|line| line.strip_prefix("Hash: "));
        let (body, signature) = rest.split_at(rest.find(&format!("\n{SIGNATURE}"))? + 1);
        Some(Self {
            hashes: hashes.flat_map(|names| names.split(',')).map(str::trim).collect(),
            body,
            signature,
        })
    }
}

/// The bytes of an armoured signature. Its checksum is not looked at; RFC 9580 has done away with it.
fn packets(armoured: &str) -> Option<Vec<u8>> {
    let (_, rest) = armoured.split_once(SIGNATURE)?;
    let (inside, _) = rest.split_once(END)?;
    let lines = inside.lines().skip(1).skip_while(|line| !line.trim().is_empty());
    let data = lines.filter(|line| !line.starts_with('='));
    decode(&data.flat_map(|line| line.trim().bytes()).collect::<Vec<_>>())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET.get((bits >> (18 - 6 * place)) as usize & 63);
            let letter = letter.filter(|_| place <= group.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        let mut letters = 0;
        for letter in group.iter().take_while(|letter| **letter != b'=') {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            bits |= u32::try_from(value).ok()? << (18 - 6 * letters);
            letters += 1;
        }
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.iter().take((letters * 3) / 4));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(decode(b"Z-=="), None);
    }

    #[test]
    fn two_signatures_are_joined_over_one_text() {
        let joined = join_clear(&signed("Format: 1\n- -dash\n"), &signed("Format: 1\n- -dash\n")).unwrap();
        assert_eq!(strip(&joined).unwrap(), "Format: 1\n-dash\n");
        assert_eq!(packets(&joined).unwrap(), [137, 137]);
        assert!(joined.contains("\nHash: SHA512\n\n"));
        assert_eq!(join_clear(&signed("a\n"), &signed("b\n")), None);
        assert_eq!(join_clear("a", &signed("a\n")), None);
    }

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
