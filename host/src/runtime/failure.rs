//! What a bot said of its own failure: the error and its place, found in the end of what it wrote.
//!
//! Languages report an uncaught error as text on standard error (or the SDK's report in the log) and then trap. An operator
//! who reads `dead-letters` needs that text's essence, `bot.py:12: KeyError: 'x'`, rather than the trap's name.

use wasmtime::{Trap, WasmBacktrace};

use super::journal::Journal;

/// Bytes that are kept of what a call wrote to standard error and logged as errors; twice as many for a moment.
const MAX_TAIL: usize = 8 * 1024;

/// Bytes of a failure's text.
const MAX_TEXT: usize = 500;

/// Files that are not the bot author's: the SDKs', and those that come with the languages.
const NOT_THE_AUTHORS: [&str; 10] = [
    "foundry_sdk",
    "foundry-sdk",
    "/python/",
    "/bundled/",
    "/world/",
    "<frozen",
    "<string>",
    "/rustc/",
    "/library/std/",
    "native",
];

/// What a trap means, in one line: the bot's own words, else the place and the trap's name.
pub(super) fn of_trap(trap: Trap, backtrace: Option<&WasmBacktrace>, journal: &Journal) -> String {
    if let Some(failure) = journal.failure() {
        return failure;
    }
    let place = backtrace
        .and_then(place)
        .map(|place| format!("{place}: "))
        .unwrap_or_default();
    let said = journal
        .last_error()
        .map(|line| format!(" (last on standard error: {line})"))
        .unwrap_or_default();
    cut(&format!("{place}{trap}{said}"), MAX_TEXT).to_owned()
}

/// The author's innermost frame of a backtrace, if the component has line numbers, or at least its function.
fn place(backtrace: &WasmBacktrace) -> Option<String> {
    let frames = backtrace.frames().iter();
    let symbols = frames.clone().flat_map(wasmtime::FrameInfo::symbols);
    let lines = symbols.filter_map(|symbol| {
        let file = symbol.file()?;
        Some((file, format!("{file}:{}", symbol.line()?)))
    });
    let authors = lines
        .clone()
        .find(|(file, _)| is_the_authors(file))
        .map(|(_, place)| place);
    authors.or_else(|| {
        let name = frames.filter_map(wasmtime::FrameInfo::func_name).next()?;
        Some(format!("in {name}"))
    })
}

/// The end of what a call wrote, line by line.
#[derive(Debug, Default)]
pub(super) struct Tail {
    text: String,
}

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        let line = cut(line, MAX_TAIL / 4);
        self.text.push_str(line);
        self.text.push('\n');
        // Twice as much may gather, so that each byte is moved once at most, whatever the length of the lines.
        if self.text.len() > 2 * MAX_TAIL {
            let from = self.text.ceil_char_boundary(self.text.len() - MAX_TAIL);
            let rest = self.text.get(from..).unwrap_or_default();
            let end = rest.find('\n').map_or(self.text.len(), |at| from + at + 1);
            self.text.drain(..end);
        }
    }

    /// The last line that is not empty.
    pub(super) fn last_line(&self) -> Option<String> {
        let mut lines = self.text.lines().rev().map(str::trim);
        lines
            .find(|line| !line.is_empty())
            .map(|line| cut(line, MAX_TEXT).to_owned())
    }

    /// The last report of an uncaught error, as one line that begins with its place.
    pub(super) fn failure(&self) -> Option<String> {
        let lines: Vec<_> = self.text.lines().collect();
        let last =
            |report: fn(&[&str]) -> Option<String>| (0..lines.len()).rev().find_map(|at| report(lines.get(at..)?));
        last(|rest| {
            python(rest)
                .or_else(|| panic(rest).filter(|_| !is_a_runtimes(rest)))
                .or_else(|| stack(rest))
                .or_else(|| assertion(rest))
        })
        .or_else(|| last(panic))
        .or_else(|| self.last_line().filter(|line| has_place(line)))
        .map(|text| cut(&text, MAX_TEXT).to_owned())
    }
}

/// Whether a line begins with its place, as compilers and the C SDK write it: `bot.c:33: text`.
fn has_place(line: &str) -> bool {
    let mut parts = line.splitn(3, ':');
    let is_file = parts
        .next()
        .is_some_and(|file| file.contains('.') && !file.contains(' '));
    let is_line = parts.next().is_some_and(|number| number.parse::<u32>().is_ok());
    is_file && is_line && parts.next().is_some()
}

/// At most so many bytes of a text, whole characters.
/// At most so many bytes of a text's beginning.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// As much of a text's end as the [`Tail`] has room for.
pub(super) fn end_of(text: &str) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_TAIL));
    text.get(from..).unwrap_or_default()
}

fn is_the_authors(file: &str) -> bool {
    !NOT_THE_AUTHORS.iter().any(|other| file.contains(other))
}

fn at(place: Option<String>, text: &str) -> String {
    match place {
        Some(place) => format!("{place}: {}", text.trim()),
        None => text.trim().to_owned(),
    }
}

/// Python: the author's innermost frame, and the line after the frames.
fn python(lines: &[&str]) -> Option<String> {
    let (first, rest) = lines.split_first()?;
    first
        .trim()
        .starts_with("Traceback (most recent call last)")
        .then_some(())?;
    let end = rest
        .iter()
        .position(|line| !line.starts_with(' ') && !line.is_empty())?;
    let (frames, rest) = rest.split_at_checked(end)?;
    let places = frames.iter().rev().filter_map(|line| {
        let (file, rest) = line.trim().strip_prefix("File \"")?.split_once("\", line ")?;
        let number = rest.split(',').next()?;
        Some((file, format!("{}:{number}", of_project(file))))
    });
    Some(at(innermost(places), rest.first()?))
}

/// componentize-py has the project's directories at `/0`, `/1` and so on.
fn of_project(file: &str) -> &str {
    file.strip_prefix('/')
        .and_then(|rest| rest.split_once('/'))
        .filter(|(directory, _)| directory.parse::<u8>().is_ok())
        .map_or(file, |(_, rest)| rest)
}

/// The first place in a file of the author's, else the first.
fn innermost<'a>(mut places: impl Iterator<Item = (&'a str, String)> + Clone) -> Option<String> {
    let authors = places.clone().find(|(file, _)| is_the_authors(file));
    authors.or_else(|| places.next()).map(|(_, place)| place)
}

/// Whether these lines are what the runtimes of Python and JavaScript, which are Rust, say when they give up for an error of
/// the bot's. What it was they don't say, or say badly.
pub(super) fn is_a_runtimes(lines: &[&str]) -> bool {
    const PLACES: [&str; 2] = ["panicked at runtime/src/lib.rs:", "panicked at crates/runtime/src/"];
    const TEXTS: [&str; 2] = ["Python function threw", "Failed to call "];
    let mut lines = lines.iter();
    let place = lines
        .next()
        .is_some_and(|line| PLACES.iter().any(|place| line.contains(place)));
    place
        && lines
            .next()
            .is_none_or(|line| TEXTS.iter().any(|text| line.starts_with(text)))
}

/// Rust: `thread 'main' panicked at src/lib.rs:12:5:`, and the message in the lines after it.
fn panic(lines: &[&str]) -> Option<String> {
    let (first, rest) = lines.split_first()?;
    let (_, place) = first.split_once("panicked at ")?;
    let message: Vec<_> = rest
        .iter()
        .take_while(|line| !line.starts_with("note: ") && !line.starts_with("stack backtrace:"))
        .map(|line| line.trim())
        .filter(|line| !line.is_empty())
        .collect();
    Some(at(Some(place.trim_end_matches(':').to_owned()), &message.join(" ")))
}

/// JavaScript: `TypeError: text`, and `    at function (file:line:column)` in the lines after it.
fn stack(lines: &[&str]) -> Option<String> {
    let (first, rest) = lines.split_first()?;
    let is_frame = |line: &&&str| line.starts_with("    at ");
    if is_frame(&first) || !rest.first().as_ref().is_some_and(is_frame) {
        return None;
    }
    let places = rest.iter().take_while(is_frame).filter_map(|line| {
        let frame = line.trim().strip_prefix("at ")?;
        let place = match frame.rsplit_once(" (") {
            Some((_, place)) => place.strip_suffix(')')?,
            None => frame,
        };
        // Without a line it is of no use.
        place.contains(':').then(|| (place, place.to_owned()))
    });
    Some(at(innermost(places), first.trim_start_matches("Uncaught ")))
}

/// C: `Assertion failed: x > 0 (bot.c: foundry_handle: 12)`; Go: `panic: text`.
fn assertion(lines: &[&str]) -> Option<String> {
    let first = lines.first()?.trim();
    if first.starts_with("panic: ") {
        return Some(first.to_owned());
    }
    let asserted = first.strip_prefix("Assertion failed: ")?;
    let place = asserted.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
    match place.map(|(what, place)| (what, place.split(": ").collect::<Vec<_>>())) {
        Some((what, parts)) => match parts.as_slice() {
            [file, .., line] => Some(format!("{file}:{line}: Assertion failed: {what}")),
            _ => Some(first.to_owned()),
        },
        None => Some(first.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Option<String> {
        let mut tail = Tail::default();
        text.lines().for_each(|line| tail.push(line));
        tail.failure()
    }

    #[test]
    fn an_uncaught_error_is_found_in_each_languages_report() {
        let cases = [
            (
                "WARNING:root:odd\nTraceback (most recent call last):\n  File \"/1/foundry_sdk/bot.py\", line 70, in _outcome\n    \
                 work()\n  File \"/0/greeter/bot.py\", line 12, in handle\n    return DATA['x']\n  \
                 File \"/python/json/decoder.py\", line 3, in get\nKeyError: 'x'\n",
                "greeter/bot.py:12: KeyError: 'x'",
            ),
            (
                "Traceback (most recent call last):\n  File \"/0/bot.py\", line 1, in f\nKeyError: 1\n\nDuring handling of the \
                 above exception, another exception occurred:\n\nTraceback (most recent call last):\n  \
                 File \"/0/bot.py\", line 9, in handle\nValueError\n",
                "bot.py:9: ValueError",
            ),
            (
                "\nthread 'main' (1) panicked at src/lib.rs:12:5:\nindex out of bounds: the len is 3\nbut the index is 9\nnote: run \
                 with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
                "src/lib.rs:12:5: index out of bounds: the len is 3 but the index is 9",
            ),
            (
                "panicked at src/lib.rs:5:10:\ntold to panic",
                "src/lib.rs:5:10: told to panic",
            ),
            (
                "TypeError: cannot read property 'x' of undefined\n    at get (native)\n    \
                 at run (vendor/foundry-sdk/index.js:130:5)\n    at handle (bot.js:9:13)\n",
                "bot.js:9:13: TypeError: cannot read property 'x' of undefined",
            ),
            ("Error\n    at bot.ts:3:1\n", "bot.ts:3:1: Error"),
            (
                "Assertion failed: x > 0 (src/bot.c: foundry_handle: 33)\n",
                "src/bot.c:33: Assertion failed: x > 0",
            ),
            (
                "KeyError: 1\n    at x (bot.js:1:2)\n\nthread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\n\
                 Failed to call 'handle': Exception(..)\nnote: run with `RUST_BACKTRACE=1`\n",
                "bot.js:1:2: KeyError: 1",
            ),
            (
                "thread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\nFailed to call 'handle': text\n",
                "crates/runtime/src/interpreter.rs:51:31: Failed to call 'handle': text",
            ),
            ("on the way\nbot.c:33: told to fail\n", "bot.c:33: told to fail"),
            ("panic: no more\n\ngoroutine 1 [running]:\n", "panic: no more"),
        ];
        for (text, expected) in cases {
            assert_eq!(failure(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in [
            "",
            "\n\n",
            "a warning\n",
            "Traceback (most recent call last):\n",
            "    at x (y:1:2)\n",
        ] {
            assert_eq!(failure(text), None, "{text}");
        }
        let mut tail = Tail::default();
        assert_eq!(tail.last_line(), None);
        tail.push("a warning");
        tail.push("");
        assert_eq!(tail.last_line().as_deref(), Some("a warning"));
    }

    #[test]
    fn a_failure_is_found_at_the_end_of_any_amount_of_output_in_bounded_memory() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(&format!("line {number} é"));
            tail.push(&"é".repeat(5_000));
        }
        assert!(tail.text.len() <= 2 * MAX_TAIL, "{}", tail.text.len());
        tail.push("Traceback (most recent call last):");
        tail.push("  File \"/0/bot.py\", line 2, in f");
        tail.push(&format!("ValueError: {}", "é".repeat(2_000)));
        let text = tail.failure().unwrap();
        assert!(
            text.starts_with("bot.py:2: ValueError: é") && text.len() <= MAX_TEXT,
            "{text}"
        );
    }
}
