//! The build's log: everything to a file up to a limit, every line to the observer, the end kept for the error.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::error::LogTail;
use super::request::{Observer, Phase};

/// How many lines an error carries.
const TAIL_LINES: usize = 50;
/// Where a line is cut for the observer and the error; the file gets it whole.
const LONGEST_LINE: usize = 4096;

/// The log of one build.
pub(super) struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    left: u64,
    dropped: u64,
    line: Vec<u8>,
    cut: bool,
    tail: VecDeque<String>,
    observer: Box<dyn Observer>,
}

impl Log {
    /// Starts a log at `path`, replacing what is there.
    pub fn create(path: &Path, limit: u64, observer: Box<dyn Observer>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(File::create(path)?),
            left: limit,
            dropped: 0,
            line: Vec::new(),
            cut: false,
            tail: VecDeque::new(),
            observer,
        })
    }

    /// Marks the beginning of a phase.
    pub fn phase(&mut self, phase: Phase) -> io::Result<()> {
        self.observer.phase(phase);
        self.note(&format!("==> {phase}"))
    }

    /// Adds a line of our own.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        if !self.line.is_empty() {
            self.write(b"\n")?;
        }
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Adds what a process wrote.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (kept, lost) = bytes.split_at_checked(fits).unwrap_or((bytes, &[]));
        self.file.write_all(kept)?;
        self.left = self.left.saturating_sub(length(kept));
        self.dropped = self.dropped.saturating_add(length(lost));

        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(text.iter().take(room));
            self.cut |= text.len() > room;
            if ends {
                self.end_line();
            }
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let mut line = String::from_utf8_lossy(&self.line).into_owned();
        if self.cut {
            line.push('…');
        }
        self.line.clear();
        self.cut = false;
        self.observer.line(&line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The lines written since the log began, as far as they are still known, oldest first.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    /// Writes out what is buffered, and says how much the limit cost.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.end_line();
        }
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            writeln!(
                self.file,
                "\n==> {dropped} bytes of log were over the limit and dropped"
            )?;
        }
        self.file.flush()
    }

    /// The end of the log, for an error.
    pub fn tail(&self) -> Box<LogTail> {
        Box::new(LogTail {
            lines: self.tail.iter().cloned().collect(),
            path: self.path.clone(),
        })
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::request::Silent;
    use super::*;

    #[test]
    fn a_log_over_its_limit_is_cut_and_its_tail_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path, 100, Box::new(Silent)).unwrap();
        for number in 0..200 {
            log.write(format!("line {number}\n").as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let tail = log.tail();
        assert_eq!(tail.lines.len(), TAIL_LINES);
        assert_eq!(tail.lines.last().unwrap(), "line 199");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("line 0\nline 1\n"));
        assert!(
            text.ends_with("bytes of log were over the limit and dropped\n"),
            "{text}"
        );
        assert!(text.len() < 200);
    }

    #[test]
    fn a_line_without_end_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), 10, Box::new(Silent)).unwrap();
        for _ in 0..100 {
            log.write(&[b'x'; 1000]).unwrap();
        }
        assert!(log.line.len() <= LONGEST_LINE);
        log.write(b"\nnext\n").unwrap();
        let lines = log.tail().lines;
        assert!(lines[0].ends_with('…') && lines[0].len() < LONGEST_LINE + 8);
        assert_eq!(lines[1], "next");
    }
}
