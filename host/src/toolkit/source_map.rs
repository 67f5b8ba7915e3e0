//! Where a line of a bundle comes from, as rolldown's source map has it: for what jco says of code that fails while it is read.
//! At run time the SDK does the same, by the map that is in the bundle.

use serde::{Deserialize, Serialize};

/// The file that rolldown makes.
pub(super) const BUNDLE: &str = "bundle.js";

/// The part of a source map that tells where a line comes from.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct SourceMap {
    /// Files, relative to the project.
    sources: Vec<String>,
    /// Segments of numbers in base64, a line after the other.
    mappings: String,
}

impl SourceMap {
    /// Read the map that rolldown wrote beside a bundle, which is one directory below the project.
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let mut map: Self = serde_json::from_slice(json)?;
        for source in &mut map.sources {
            *source = source.strip_prefix("../").unwrap_or(source).to_owned();
        }
        Ok(map)
    }

    /// A text in which places of the bundle are those of the sources.
    pub(super) fn translate(&self, text: &str) -> String {
        let mut pieces = text.split(BUNDLE);
        let mut translated = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let place = place(piece).and_then(|(line, column, rest)| Some((self.find(line, column)?, rest)));
            match place {
                Some((source, rest)) => {
                    // Of the bundle's path nothing is left.
                    let start = translated.rfind([' ', '(', '\n']).map_or(0, |at| at + 1);
                    translated.truncate(start);
                    translated.push_str(&source);
                    translated.push_str(rest);
                }
                None => {
                    translated.push_str(BUNDLE);
                    translated.push_str(piece);
                }
            }
        }
        translated
    }

    /// The source's file and line of a place in the bundle; both begin at 1.
    fn find(&self, line: usize, column: i64) -> Option<String> {
        let (mut source, mut source_line) = (0, 0);
        let mut found = None;
        for (at, segments) in self.mappings.split(';').enumerate().take(line) {
            let mut generated = 0;
            for segment in segments.split(',') {
                let numbers = decode(segment)?;
                let mut numbers = numbers.into_iter();
                generated += numbers.next().unwrap_or_default();
                let Some(to_source) = numbers.next() else { continue };
                source += to_source;
                source_line += numbers.next()?;
                // The last segment before the place, or else the first one of the line.
                if at + 1 == line && (found.is_none() || generated < column) {
                    let file = self.sources.get(usize::try_from(source).ok()?)?;
                    found = Some(format!("{file}:{}", source_line + 1));
                }
            }
        }
        found
    }
}

/// Line, column and the rest of a text that begins with `:LINE:COLUMN` or `:LINE`.
fn place(text: &str) -> Option<(usize, i64, &str)> {
    let (line, rest) = number(text)?;
    match number(rest) {
        Some((column, rest)) => Some((line, i64::try_from(column).ok()?, rest)),
        None => Some((line, 1, rest)),
    }
}

/// The number and the rest of a text that begins with a colon and digits.
fn number(text: &str) -> Option<(usize, &str)> {
    let text = text.strip_prefix(':')?;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// The numbers of a segment: base64, five bits a digit, the sign in the lowest bit of each number.
fn decode(segment: &str) -> Option<Vec<i64>> {
    let mut numbers = Vec::new();
    let (mut value, mut shift) = (0_i64, 0_u32);
    for digit in segment.bytes() {
        let digit = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        value |= i64::from(digit & 31).checked_shl(shift)?;
        shift += 5;
        if digit & 32 == 0 {
            numbers.push(if value & 1 == 1 { -(value >> 1) } else { value >> 1 });
            (value, shift) = (0, 0);
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rolldown wrote it for two files of TypeScript.
    const MAP: &str = r#"{"version":3,"sources":["../other.ts","../bot.ts"],
        "mappings":";AACA,SAAgB,KAAK,GAAc;CACjC,QAAQ,KAAA,EAAA,CAAkB;AAC5B;;ACDA,SAAgB,MAAM;CAEpB,OAAO,KAAK,EADG,GAAG,EACN,CAAC;AACf"}"#;

    #[test]
    fn places_of_a_bundle_become_those_of_its_sources() {
        let map = SourceMap::read(MAP.as_bytes()).unwrap();
        let text = "TypeError: x\n    at boom (/bundle.js:3:20)\n    at run (/tmp/x/build/bundle.js:7:9)\n    at bundle.js:99\nbundle.js";
        assert_eq!(
            map.translate(text),
            "TypeError: x\n    at boom (other.ts:3)\n    at run (bot.ts:5)\n    at bundle.js:99\nbundle.js"
        );
    }

    #[test]
    fn a_map_that_makes_no_sense_changes_nothing() {
        for mappings in [
            "!!",
            "A",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "gggggggggggggggggggggggggA",
            ";;",
        ] {
            let map = SourceMap {
                sources: Vec::new(),
                mappings: mappings.to_owned(),
            };
            assert_eq!(map.translate("at bundle.js:1:1"), "at bundle.js:1:1");
        }
    }
}
