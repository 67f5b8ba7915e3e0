//! The canonical S-expressions in which gpg-agent gives signatures: `(7:sig-val(3:rsa(1:s256:…)))`.

/// No agent's answer nests deeper than this.
const DEEPEST: usize = 8;

/// An atom or a list.
#[derive(Debug, PartialEq, Eq)]
enum Sexp<'a> {
    Atom(&'a [u8]),
    List(Vec<Sexp<'a>>),
}

/// The numbers of a signature, in OpenPGP's order: `s` of RSA, `r` and `s` of EdDSA and ECDSA. None if the value is of
/// another kind or damaged.
pub(super) fn signature_numbers(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (parsed, rest) = parse(value, DEEPEST)?;
    // Some versions end the value with a zero byte.
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let Sexp::List(items) = parsed else { return None };
    let [Sexp::Atom(b"sig-val"), Sexp::List(algorithm), ..] = items.as_slice() else {
        return None;
    };
    let (Sexp::Atom(name), parameters) = algorithm.split_first()? else {
        return None;
    };
    let names: &[&[u8]] = match *name {
        b"rsa" => &[b"s"],
        b"eddsa" | b"ecdsa" | b"dsa" => &[b"r", b"s"],
        _ => return None,
    };
    names.iter().map(|name| parameter(parameters, name)).collect()
}

fn parameter<'a>(parameters: &[Sexp<'a>], wanted: &[u8]) -> Option<&'a [u8]> {
    parameters.iter().find_map(|parameter| match parameter {
        Sexp::List(pair) => match pair.as_slice() {
            [Sexp::Atom(name), Sexp::Atom(value)] if *name == wanted => Some(*value),
            _ => None,
        },
        Sexp::Atom(_) => None,
    })
}

/// One expression, and what follows it.
fn parse(text: &[u8], depth: usize) -> Option<(Sexp<'_>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"(") else {
        let colon = text.iter().position(|byte| *byte == b':')?;
        let (digits, rest) = text.split_at_checked(colon)?;
        // Five digits: more is no number of a signature.
        if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length = digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let (atom, rest) = rest.get(1..)?.split_at_checked(length)?;
        return Some((Sexp::Atom(atom), rest));
    };
    let depth = depth.checked_sub(1)?;
    let mut items = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(b")") {
            return Some((Sexp::List(items), after));
        }
        let (item, after) = parse(rest, depth)?;
        items.push(item);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_of_each_algorithm_are_found() {
        assert_eq!(
            signature_numbers(b"(7:sig-val(3:rsa(1:s3:abc)))"),
            Some(vec![&b"abc"[..]])
        );
        let two = Some(vec![&b"a)"[..], &b"b"[..]]);
        assert_eq!(signature_numbers(b"(7:sig-val(5:eddsa(1:r2:a))(1:s1:b)))"), two);
        assert_eq!(
            signature_numbers(b"(7:sig-val(5:ecdsa(1:s1:b)(1:r2:a))(4:hash6:sha512)))\0"),
            two
        );
    }

    #[test]
    fn everything_else_is_refused() {
        let deep = [b"(".repeat(100), b"1:a".to_vec(), b")".repeat(100)].concat();
        for value in [
            &b""[..],
            b"(7:sig-val(3:rsa(1:s3:abc))",
            b"(7:sig-val(3:rsa(1:s3:abc)))x",
            b"(7:sig-val(3:rsa(1:s99:abc)))",
            b"(7:sig-val(3:rsa(1:t3:abc)))",
            b"(7:sig-val(3:elg(1:s3:abc)))",
            b"(10:enc-val(3:rsa(1:s3:abc)))",
            b"(99999999999999999999:a)",
            &deep,
        ] {
            assert_eq!(signature_numbers(value), None, "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn parsing_anything_never_panics(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = signature_numbers(&value);
        }
    }
}
