//! Printing: lines, tables and JSON, made safe for terminals.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::CliError;

/// Standard output.
pub struct Output {
    out: Box<dyn Write + Send>,
    colour: bool,
}

/// Colours that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tint {
    /// All is well.
    Good,
    /// Something needs attention.
    Odd,
    /// Something failed.
    Bad,
    /// Less important than the rest.
    Faint,
}

impl Output {
    /// The process's own. Colour only on a terminal, and not if `NO_COLOR` is set (no-color.org).
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = std::io::stdout();
        let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: Box::new(stdout),
            colour,
        }
    }

    /// Print a line.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result<(), CliError> {
        writeln!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .map_err(CliError::Output)
    }

    /// Write bytes as they are.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(CliError::Output)
    }

    /// Print a value as JSON on several lines.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Output(error.into()))?;
        self.line(text)
    }

    /// Print a value as JSON on one line, as streams have it.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
        self.line(text)
    }

    /// Print columns below their titles. The last column may be of any width.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
        let titles: Vec<_> = titles.iter().map(|title| (*title).to_owned()).collect();
        let all: Vec<Vec<String>> = std::iter::once(&titles)
            .chain(rows)
            .map(|row| row.iter().map(|cell| printable(cell)).collect())
            .collect();
        let width = |column: usize| {
            all.iter()
                .filter_map(|row| Some(row.get(column)?.chars().count()))
                .max()
        };
        let widths: Vec<_> = (0..titles.len()).map_while(width).collect();
        for row in &all {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// A text in a colour, if there is colour.
    #[must_use]
    pub fn tint(&self, tint: Tint, text: &str) -> String {
        let code = match tint {
            Tint::Good => "32",
            Tint::Odd => "33",
            Tint::Bad => "31",
            Tint::Faint => "2",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A text from a repository, a bot or a message, without anything that a terminal would act upon.
#[must_use]
pub fn printable(text: &str) -> String {
    // Direction marks could make a line read as something else.
    let hidden = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() || hidden(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// The same for a text of several lines.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// How long ago a moment was, in one unit: `3m`.
#[must_use]
pub fn age(now: OffsetDateTime, since: &str) -> String {
    let Ok(since) = OffsetDateTime::parse(since, &Rfc3339) else {
        return "-".to_owned();
    };
    let seconds = (now - since).whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment in RFC 3339, without the fractions of a second.
#[must_use]
pub fn second(moment: &str) -> String {
    let whole = OffsetDateTime::parse(moment, &Rfc3339)
        .ok()
        .and_then(|time| time.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
    whole.unwrap_or_else(|| moment.to_owned())
}

/// The time between two moments, in one or two units: `0.4s`, `12s`, `3m 10s`, `2h 5m`. `None` if one of them is no moment.
/// Clocks of two machines may differ: what was before is at the same time.
#[must_use]
pub fn elapsed(from: &str, to: &str) -> Option<String> {
    let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let between = moment(to)? - moment(from)?;
    let (seconds, tenths) = (
        between.whole_seconds().max(0),
        between.subsec_milliseconds().max(0) / 100,
    );
    Some(match seconds {
        0..10 => format!("{seconds}.{tenths}s"),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    })
}

/// A size as people read it.
#[must_use]
pub fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_commands_from_what_is_shown() {
        assert_eq!(
            printable("a\x1b[31mb\u{202e}c\td\u{9b}"),
            "a\u{fffd}[31mb\u{fffd}c d\u{fffd}"
        );
        assert_eq!(printable("grün, 日本"), "grün, 日本");
        assert_eq!(printable_lines("a\x1b[2J\nb\r\n"), "a\u{fffd}[2J\nb\u{fffd}\n");
    }

    #[test]
    fn ages() {
        let now = OffsetDateTime::parse("2026-01-03T00:00:00Z", &Rfc3339).unwrap();
        for (since, expected) in [
            ("2026-01-02T23:59:59Z", "1s"),
            ("2026-01-02T23:00:00Z", "1h"),
            ("2026-01-02T23:58:00Z", "2m"),
            ("2025-12-31T00:00:00Z", "3d"),
            ("2027-01-01T00:00:00Z", "0s"),
            ("yesterday", "-"),
        ] {
            assert_eq!(age(now, since), expected, "{since}");
        }
    }

    #[test]
    fn moments_and_the_time_between_them() {
        assert_eq!(second("2026-01-03T00:00:00.123456789Z"), "2026-01-03T00:00:00Z");
        assert_eq!(second("soon"), "soon");
        for (to, expected) in [
            ("2026-01-03T00:00:00.4Z", "0.4s"),
            ("2026-01-03T00:00:09.99Z", "9.9s"),
            ("2026-01-03T00:00:59.99Z", "59s"),
            ("2026-01-03T00:03:10Z", "3m 10s"),
            ("2026-01-03T02:05:59Z", "2h 5m"),
            ("2026-01-02T23:59:59.9Z", "0.0s"),
        ] {
            assert_eq!(elapsed("2026-01-03T00:00:00Z", to).as_deref(), Some(expected), "{to}");
        }
        assert_eq!(elapsed("2026-01-03T00:00:00Z", "soon"), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }
}
