//! The order of Debian versions (Debian Policy 5.6.12).

use std::cmp::Ordering;

/// Compare two versions as dpkg does.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    compare_numbers(a_epoch, b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

/// Epoch, upstream version and revision.
fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Alternately text and numbers.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = take(a, |c| !c.is_ascii_digit());
        let (b_text, b_rest) = take(b, |c| !c.is_ascii_digit());
        let (a_number, a_rest) = take(a_rest, |c| c.is_ascii_digit());
        let (b_number, b_rest) = take(b_rest, |c| c.is_ascii_digit());
        let order = compare_text(a_text, b_text).then_with(|| compare_numbers(a_number, b_number));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn take(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// Tilde before the end, the end before letters, letters before the rest.
fn compare_text(a: &str, b: &str) -> Ordering {
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    };
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        let (next_a, next_b) = (a.next(), b.next());
        match rank(next_a).cmp(&rank(next_b)) {
            Ordering::Equal if next_a.is_none() => return Ordering::Equal,
            Ordering::Equal => {}
            order => return order,
        }
    }
}

/// Of any length.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_policy() {
        let ascending = ["~~", "~~a", "~", "", "a"];
        for pair in ascending.windows(2) {
            assert_eq!(compare_part(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        let ascending = [
            "1.0~rc1-1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-2",
            "1.0-10",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1:0.1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare("0:1.0-0", "1.00"), Ordering::Equal);
    }

    fn dpkg(a: &str, relation: &str, b: &str) -> bool {
        Command::new("dpkg")
            .args(["--compare-versions", a, relation, b])
            .status()
            .unwrap()
            .success()
    }

    /// Versions that differ in little, from a small generator.
    fn random_versions(count: usize) -> Vec<String> {
        const PIECES: [&str; 24] = [
            "0", "1", "2", "9", "10", "00", "01", "007", "a", "b", "ab", "rc1", "~", "~~", "+", ".", ".0", ".1", "+b1",
            "~rc", "-1", "-0", "-1~bpo", "-0.1",
        ];
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let version = |_| {
            let epoch = ["", "", "", "0:", "1:"][random(5)];
            let first = random(12);
            let mut version = format!("{epoch}{first}");
            for _ in 0..random(5) {
                version.push_str(PIECES[random(PIECES.len())]);
            }
            version
        };
        (0..count).map(version).collect()
    }

    /// What a program says of pairs of versions, one pair a line.
    fn judged(program: &str, arguments: &[&str], pairs: &[(String, String)]) -> Vec<String> {
        let mut input = tempfile::tempfile().unwrap();
        for (a, b) in pairs {
            writeln!(input, "{a} {b}").unwrap();
        }
        input.rewind().unwrap();
        let output = Command::new(program).args(arguments).stdin(input).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_judges_of_debian_agree_on_a_large_random_set() {
        let versions = random_versions(40_000);
        let pair = |(number, pair): (usize, &[String])| match number % 4 {
            // Written otherwise, and often the same.
            0 => (pair[0].clone(), pair[0].replacen('.', ".0", 1)),
            _ => (pair[0].clone(), pair[1].clone()),
        };
        let pairs: Vec<_> = versions.chunks(2).enumerate().map(pair).collect();
        let ours: Vec<_> = pairs
            .iter()
            .map(|(a, b)| match compare(a, b) {
                Ordering::Less => "-1",
                Ordering::Equal => "0",
                Ordering::Greater => "1",
            })
            .collect();
        let perl = "use Dpkg::Version; while (<>) { my ($a, $b) = split; print version_compare($a, $b), \"\\n\" }";
        let shell = "while read -r a b; do if dpkg --compare-versions \"$a\" lt \"$b\"; then echo -1; \
                     elif dpkg --compare-versions \"$a\" eq \"$b\"; then echo 0; else echo 1; fi; done";
        let by_perl = judged("perl", &["-e", perl], &pairs);
        let some = &pairs[..1500];
        let by_dpkg = judged("sh", &["-c", shell], some);
        assert_eq!((by_perl.len(), by_dpkg.len()), (pairs.len(), some.len()));
        for ((pair, ours), perl) in pairs.iter().zip(&ours).zip(&by_perl) {
            assert_eq!(ours, perl, "{pair:?}");
        }
        for ((pair, ours), dpkg) in pairs.iter().zip(&ours).zip(&by_dpkg) {
            assert_eq!(ours, dpkg, "{pair:?}");
        }
        // A set in which all were the same would say nothing.
        for order in ["-1", "0", "1"] {
            assert!(ours.iter().filter(|ours| **ours == order).count() > 100);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn agrees_with_dpkg(
            a in "([0-2]:)?[0-9][0-9a-b.+~]{0,5}(-[0-9a-b.+~]{1,3})?",
            b in "([0-2]:)?[0-9][0-9a-b.+~]{0,5}(-[0-9a-b.+~]{1,3})?",
        ) {
            let relation = match compare(&a, &b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            prop_assert!(dpkg(&a, relation, &b), "{} {} {}", a, relation, b);
            prop_assert_eq!(compare(&b, &a), compare(&a, &b).reverse());
        }
    }
}
