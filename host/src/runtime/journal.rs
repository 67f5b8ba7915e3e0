//! What a call of a bot says: through the contract's `log`, and on its standard streams. All of it becomes lines of the
//! bot's log, within one budget; the end of what tells of a failure is kept for the fault's text.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::{self, Tail};
use super::invocation::BotContext;
use crate::capability::Level;

/// Lines that one call may write; the rest is dropped, with one line that says so.
const MAX_LINES: usize = 10_000;

/// Bytes of text that one call may write.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Lines, and bytes of text, that are kept of a call whose bot has no name yet. A host remembers them for each component.
const MAX_KEPT: usize = 100;
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Longest line, in bytes: the log cuts there.
pub(crate) const MAX_LINE: usize = 8 * 1024;

/// One of the two standard streams that a bot can write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        }
    }
}

/// A line without a log to be in yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its severity.
    pub level: Level,
    /// The text, without a line end.
    pub line: String,
}

/// What a call says. A handle: the call's streams share it with the capabilities.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Mutex<State>>);

struct State {
    sink: Sink,
    lines_left: usize,
    bytes_left: usize,
    out: Partial,
    err: Partial,
    tail: Tail,
    /// An SDK has reported an uncaught error.
    is_reported: bool,
    /// And the language's runtime says once more that there was one.
    is_repeated: bool,
}

enum Sink {
    /// The bot's log.
    Log { bot: Arc<BotContext>, run: Option<String> },
    /// Kept for whoever asked the component.
    Kept(Vec<Said>),
}

/// A line whose end has not come yet.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Journal {
    /// Of a call of a loaded bot.
    pub(super) fn of(bot: Arc<BotContext>, run: Option<String>) -> Self {
        Self::with(Sink::Log { bot, run }, MAX_LINES, MAX_BYTES)
    }

    /// Of a component that is no bot yet.
    pub(super) fn kept() -> Self {
        Self::with(Sink::Kept(Vec::new()), MAX_KEPT, MAX_KEPT_BYTES)
    }

    fn with(sink: Sink, lines: usize, bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            sink,
            lines_left: lines,
            bytes_left: bytes,
            out: Partial::default(),
            err: Partial::default(),
            tail: Tail::default(),
            is_reported: false,
            is_repeated: false,
        })))
    }

    /// A call of the contract's `log`; the text may have several lines.
    ///
    /// What it costs is bounded, however long the text: no limit of time ends a call of the host's.
    pub(crate) fn log(&self, level: Level, text: &str) {
        let mut state = self.state();
        if level == Level::Error {
            failure::end_of(text).lines().for_each(|line| state.tail.push(line));
            state.is_reported = state.tail.failure().is_some();
        }
        state.write(level, text.lines());
    }

    /// Bytes on a standard stream. A line is written when its end comes.
    pub(super) fn print(&self, stream: Stream, bytes: &[u8]) {
        self.state().print(stream, bytes);
    }

    /// The call is over: what has no line end is a line all the same.
    pub(super) fn end(&self) {
        let mut state = self.state();
        for stream in [Stream::Out, Stream::Err] {
            if !state.partial(stream).is_empty() {
                state.print(stream, b"\n");
            }
        }
    }

    /// What it said of a failure: the error with its place in the source, if it can be told.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().tail.failure()
    }

    /// The last line on standard error, or that it logged as an error.
    pub(super) fn last_error(&self) -> Option<String> {
        self.state().tail.last_line()
    }

    /// The lines of a component that is no bot yet.
    pub(super) fn take_kept(&self) -> Vec<Said> {
        match &mut self.state().sink {
            Sink::Kept(lines) => std::mem::take(lines),
            Sink::Log { .. } => Vec::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half done where a thread could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for State {
    /// A call that its host gives up ends here.
    fn drop(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.partial(stream).is_empty() {
                self.print(stream, b"\n");
            }
        }
    }
}

impl State {
    fn partial(&mut self, stream: Stream) -> &mut Partial {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        // The tail needs what goes to standard error also when the log takes no more.
        if stream == Stream::Out && self.lines_left == 0 {
            return;
        }
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = self.partial(stream);
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    partial.add(end);
                    lines.push(partial.take());
                }
                None => partial.add(piece),
            }
        }
        if stream == Stream::Err {
            self.drop_repetition(&mut lines);
            lines.iter().for_each(|line| self.tail.push(line));
        }
        self.write(stream.level(), lines.iter().map(String::as_str));
    }

    /// Forget what a runtime says of an error that the SDK has reported.
    fn drop_repetition(&mut self, lines: &mut Vec<String>) {
        if self.is_reported {
            lines.retain(|line| {
                self.is_repeated |= failure::is_a_runtimes(&[line]);
                !self.is_repeated && !line.is_empty()
            });
        }
    }

    fn write<'a>(&mut self, level: Level, lines: impl Iterator<Item = &'a str>) {
        if self.lines_left == 0 {
            return;
        }
        let mut fitting = Vec::new();
        for line in lines {
            let size = line.len().min(MAX_LINE);
            // The last line of the budget is the one that says so.
            if self.lines_left == 1 || size > self.bytes_left {
                self.put(level, &fitting);
                let text = match self.sink {
                    Sink::Log { .. } => format!(
                        "too many log lines; the rest is dropped (one call may write {MAX_LINES} lines and {} MiB)",
                        MAX_BYTES / 1024 / 1024
                    ),
                    Sink::Kept(_) => format!(
                        "too many log lines; the rest is dropped (while a bot says what it is, it may write {MAX_KEPT} lines and \
                         {} KiB)",
                        MAX_KEPT_BYTES / 1024
                    ),
                };
                self.put(Level::Warn, &[&text]);
                self.lines_left = 0;
                return;
            }
            self.lines_left -= 1;
            self.bytes_left -= size;
            fitting.push(line);
        }
        self.put(level, &fitting);
    }

    fn put(&mut self, level: Level, lines: &[&str]) {
        match &mut self.sink {
            Sink::Log { bot, run } => bot.services.logs.append(&bot.name, run.as_deref(), level, lines),
            Sink::Kept(kept) => kept.extend(lines.iter().map(|line| Said {
                level,
                // A byte more than the log takes, so that it sees that there was more.
                line: failure::cut(line, MAX_LINE + 1).to_owned(),
            })),
        }
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn add(&mut self, bytes: &[u8]) {
        // One byte more than fits, so that the log sees that there was more.
        let room = (MAX_LINE + 1).saturating_sub(self.bytes.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend(bytes.iter().take(room));
    }

    /// The line, and an empty one in its place. Bytes that are not UTF-8 show as `\u{fffd}`.
    fn take(&mut self) -> String {
        if !self.is_cut && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        let line = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes.clear();
        self.is_cut = false;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(journal: &Journal) -> Vec<(Level, String)> {
        journal
            .take_kept()
            .into_iter()
            .map(|said| (said.level, said.line))
            .collect()
    }

    #[test]
    fn a_line_is_written_when_its_end_comes_or_the_call_is_over() {
        let journal = Journal::kept();
        journal.print(Stream::Out, b"one\r\ntw");
        journal.print(Stream::Err, b"a warning");
        journal.print(Stream::Out, b"o\n\nthr");
        let info = |text: &str| (Level::Info, text.to_owned());
        assert_eq!(said(&journal), [info("one"), info("two"), info("")]);
        journal.end();
        journal.end();
        assert_eq!(said(&journal), [info("thr"), (Level::Warn, "a warning".to_owned())]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_all_the_same() {
        let journal = Journal::kept();
        journal.print(Stream::Out, b"\xff\xfe caf\xc3");
        // A character may come in two pieces.
        journal.print(Stream::Out, b"\xa9\n");
        assert_eq!(said(&journal), [(Level::Info, "\u{fffd}\u{fffd} café".to_owned())]);
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let journal = Journal::kept();
        for _ in 0..1000 {
            journal.print(Stream::Out, &[b'x'; 4096]);
        }
        assert!(journal.state().out.bytes.capacity() <= 4 * MAX_LINE);
        journal.end();
        let lines = said(&journal);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].1.len(), MAX_LINE + 1);
    }

    #[test]
    fn what_a_component_says_before_it_is_a_bot_takes_bounded_memory() {
        let journal = Journal::kept();
        let long = "x".repeat(1024 * 1024);
        for _ in 0..MAX_KEPT {
            journal.log(Level::Info, &long);
            journal.print(Stream::Out, long.as_bytes());
        }
        let lines = said(&journal);
        let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
        assert!(bytes <= MAX_KEPT_BYTES + 1024, "{bytes}");
        assert!(lines.last().unwrap().1.contains("64 KiB"), "{:?}", lines.last());
    }

    #[test]
    fn a_call_looks_only_at_the_end_of_a_long_text() {
        // Quadratic before: 60 MiB of line ends held a thread of the host for a minute.
        let journal = Journal::kept();
        journal.log(Level::Error, &"\n".repeat(64 * 1024 * 1024));
        journal.log(
            Level::Error,
            &format!("{}\nbot.c:33: told to fail", "é\n".repeat(1024 * 1024)),
        );
        assert_eq!(journal.failure().as_deref(), Some("bot.c:33: told to fail"));
    }

    #[test]
    fn what_the_sdk_reported_is_not_said_twice() {
        let journal = Journal::kept();
        journal.log(Level::Error, "KeyError: 1\n    at x (bot.js:1:2)");
        journal.print(
            Stream::Err,
            b"\nthread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\n",
        );
        journal.print(Stream::Err, b"Failed to call 'handle'\nnote: run with it\n");
        assert_eq!(said(&journal).len(), 2);
        assert_eq!(journal.failure().as_deref(), Some("bot.js:1:2: KeyError: 1"));
    }

    #[test]
    fn all_that_a_call_says_has_one_budget_of_lines() {
        let journal = Journal::kept();
        journal.log(Level::Info, &"a line\n".repeat(50));
        for _ in 0..100 {
            journal.print(Stream::Out, b"printed\nprinted\n");
        }
        journal.log(Level::Error, "the failure is not lost");
        let lines = said(&journal);
        assert_eq!(lines.len(), MAX_KEPT);
        assert!(lines[MAX_KEPT - 1].1.starts_with("too many log lines"));
        assert_eq!(journal.last_error().as_deref(), Some("the failure is not lost"));
    }

    #[test]
    fn all_that_a_call_says_has_one_budget_of_bytes() {
        let journal = Journal::with(Sink::Kept(Vec::new()), usize::MAX, MAX_BYTES);
        let megabyte = vec![b'x'; 1024 * 1024];
        for _ in 0..100 {
            for line in megabyte.chunks(1024) {
                journal.print(Stream::Out, line);
                journal.print(Stream::Out, b"\n");
            }
        }
        let lines = said(&journal);
        let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
        assert!(bytes <= MAX_BYTES + 200, "{bytes}");
        assert_eq!(lines.last().unwrap().0, Level::Warn);
    }
}
