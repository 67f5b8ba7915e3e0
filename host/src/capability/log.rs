//! `log`: what bots say, kept per run and sent to whoever listens.

mod retention;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::retention::Limits;
use crate::runtime::{Invocation, MAX_LINE, wit};

/// Lines that a slow listener may be behind before it misses some.
const LIVE_LINES: usize = 4096;

/// By how much a file's time may lag behind that of the line that was written into it.
const COARSE: std::time::Duration = std::time::Duration::from_secs(2);

/// One line of a bot's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// The bot.
    pub bot: String,
    /// The run that it belongs to.
    pub run: Option<String>,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: Level,
    /// The text, without a line end.
    pub line: String,
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the bot's author.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// The normal course.
    Info,
    /// Something that may need attention.
    Warn,
    /// Something that failed.
    Error,
}

impl Level {
    /// Its name, as in wasi:logging.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Keeps log lines in files, one per run and bot, and hands them to live listeners.
pub struct LogHub {
    directory: PathBuf,
    live: broadcast::Sender<Arc<LogLine>>,
    /// Bytes at which a bot's file of lines outside of runs makes room for a new one.
    most_of_bot: u64,
    /// Held while it does.
    turning: Mutex<()>,
}

impl LogHub {
    /// A hub that keeps its files in a directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            live: broadcast::channel(LIVE_LINES).0,
            most_of_bot: Limits::default().log_file,
            turning: Mutex::default(),
        }
    }

    /// The same, with another bound of a bot's file of lines outside of runs, in bytes. One older file is kept besides.
    #[must_use]
    pub fn with_most_of_bot(self, bytes: u64) -> Self {
        Self {
            most_of_bot: bytes,
            ..self
        }
    }

    /// All lines from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.live.subscribe()
    }

    /// Keep a text's lines and send them on. A file that can't be written costs the lines, never the bot.
    pub fn write(&self, bot: &str, run: Option<&str>, level: Level, text: &str) {
        let lines: Vec<_> = text.lines().collect();
        self.append(bot, run, level, &lines);
    }

    /// The same for lines, of which none has a line end. Longer ones than 8 KiB are cut.
    pub(crate) fn append(&self, bot: &str, run: Option<&str>, level: Level, lines: &[&str]) {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| LogLine {
                time: OffsetDateTime::now_utc(),
                bot: bot.to_owned(),
                run: run.map(ToOwned::to_owned),
                level,
                line: cut(line),
            })
            .collect();
        if let Err(error) = self.keep(bot, run, &lines) {
            tracing::warn!(bot, %error, "cannot keep log lines");
        }
        for line in lines {
            match level {
                Level::Error | Level::Warn => tracing::warn!(target: "bot", bot, run, "{}", line.line),
                Level::Info => tracing::info!(target: "bot", bot, run, "{}", line.line),
                Level::Debug | Level::Trace => tracing::debug!(target: "bot", bot, run, "{}", line.line),
            }
            // Nobody listening is not an error.
            let _ = self.live.send(Arc::new(line));
        }
    }

    /// The file with a bot's lines: of one run, or those that belong to no run.
    #[must_use]
    pub fn file(&self, bot: &str, run: Option<&str>) -> PathBuf {
        match run {
            Some(run) => self.directory.join("runs").join(run).join(format!("{bot}.jsonl")),
            None => self.directory.join("bots").join(format!("{bot}.jsonl")),
        }
    }

    /// The lines kept for a run, of all its bots, by time.
    ///
    /// # Errors
    /// What the system said; a run without a log is an empty one.
    pub fn of_run(&self, run: &str) -> std::io::Result<Vec<LogLine>> {
        let directory = self.directory.join("runs").join(run);
        let mut lines = Vec::new();
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(lines),
            Err(error) => return Err(error),
        };
        for entry in entries {
            lines.extend(read_lines(&entry?.path())?);
        }
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    /// The lines of a bot that belong to no run.
    ///
    /// # Errors
    /// What the system said; a bot without a log has an empty one.
    pub fn of_bot(&self, bot: &str) -> std::io::Result<Vec<LogLine>> {
        let file = self.file(bot, None);
        let mut lines = Vec::new();
        for file in [retention::older(&file), file] {
            match read_lines(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => lines.extend(other?),
            }
        }
        Ok(lines)
    }

    /// Whether there is a log of a bot, loaded or not.
    #[must_use]
    pub fn knows_bot(&self, bot: &str) -> bool {
        let mut files = self.files(Some(bot)).unwrap_or_default();
        files.any(|file| file.is_file())
    }

    /// The newest lines of a bot, or of all, in runs and outside of them, oldest first.
    ///
    /// # Errors
    /// What the system said.
    pub fn newest(&self, bot: Option<&str>, limit: usize) -> std::io::Result<Vec<LogLine>> {
        let modified = |file: &PathBuf| std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
        let mut files: Vec<_> = self
            .files(bot)?
            .filter_map(|file| Some((modified(&file)?, file)))
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        let mut lines: Vec<LogLine> = Vec::new();
        for (modified, file) in files {
            // Files from here on hold nothing newer than the oldest line that is wanted. File systems' clocks are coarse.
            let oldest = lines.len().checked_sub(limit).and_then(|at| lines.get(at));
            if oldest.is_some_and(|oldest| OffsetDateTime::from(modified) + COARSE < oldest.time) {
                break;
            }
            lines.extend(read_lines(&file)?);
            lines.sort_by_key(|line| line.time);
        }
        Ok(lines.split_off(lines.len().saturating_sub(limit)))
    }

    /// The files of a bot, or of all. Some may not exist.
    fn files(&self, bot: Option<&str>) -> std::io::Result<std::vec::IntoIter<PathBuf>> {
        let mut directories = list(&self.directory.join("runs"))?;
        directories.push(self.directory.join("bots"));
        let mut files = Vec::new();
        for directory in directories {
            match bot {
                Some(bot) => {
                    let file = directory.join(format!("{bot}.jsonl"));
                    files.extend([retention::older(&file), file]);
                }
                None => files.extend(list(&directory)?),
            }
        }
        Ok(files.into_iter())
    }

    fn keep(&self, bot: &str, run: Option<&str>, lines: &[LogLine]) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.file(bot, run);
        if run.is_none() {
            self.make_room(&path)?;
        }
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let open = || OpenOptions::new().create(true).read(true).append(true).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                open()?
            }
            other => other?,
        };
        if ends_torn(&mut file)? {
            text.insert(0, b'\n');
        }
        file.write_all(&text)
    }
}

/// Whether a crash, or a full disk, cut the last line short. What follows is to be a line of its own.
fn ends_torn(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// What a line that is cut ends in.
const CUT: &str = "\u{2026}";

/// A line, cut at a character if it is too long.
fn cut(line: &str) -> String {
    if line.len() <= MAX_LINE {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(MAX_LINE - CUT.len());
    format!("{}{CUT}", line.get(..end).unwrap_or_default())
}

/// The entries of a directory; one that isn't there has none.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read_lines(path: &Path) -> std::io::Result<Vec<LogLine>> {
    let bytes = std::fs::read(path)?;
    // A line that a crash cut short is skipped, wherever it was cut.
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

impl From<wit::log::Level> for Level {
    fn from(level: wit::log::Level) -> Self {
        match level {
            wit::log::Level::Trace => Self::Trace,
            wit::log::Level::Debug => Self::Debug,
            wit::log::Level::Info => Self::Info,
            wit::log::Level::Warn => Self::Warn,
            wit::log::Level::Error => Self::Error,
        }
    }
}

impl wit::log::Host for Invocation {
    async fn log(&mut self, level: wit::log::Level, line: String) -> wasmtime::Result<()> {
        self.journal.log(level.into(), &line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_per_run_and_bot() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        let mut live = hub.listen();
        hub.write("buildbot", Some("r1"), Level::Info, "one\ntwo");
        hub.write("signbot", Some("r1"), Level::Warn, "three");
        hub.write("buildbot", None, Level::Info, "idle");
        let lines: Vec<_> = hub.of_run("r1").unwrap().into_iter().map(|l| (l.bot, l.line)).collect();
        let expected = [("buildbot", "one"), ("buildbot", "two"), ("signbot", "three")];
        assert_eq!(lines, expected.map(|(b, l)| (b.to_owned(), l.to_owned())));
        assert_eq!(hub.of_bot("buildbot").unwrap().len(), 1);
        assert_eq!(hub.of_run("none").unwrap(), []);
        assert_eq!(live.try_recv().unwrap().line, "one");
    }

    #[test]
    fn the_newest_lines_come_from_all_files() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        for (bot, run, text) in [
            ("a", Some("r1"), "1"),
            ("b", Some("r1"), "2"),
            ("a", None, "3"),
            ("a", Some("r2"), "4"),
            ("b", None, "5"),
        ] {
            hub.write(bot, run, Level::Info, text);
        }
        let newest = |bot, limit| {
            hub.newest(bot, limit)
                .unwrap()
                .into_iter()
                .map(|line| line.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(newest(None, 100), ["1", "2", "3", "4", "5"]);
        assert_eq!(newest(None, 2), ["4", "5"]);
        assert_eq!(newest(Some("a"), 2), ["3", "4"]);
        assert_eq!(newest(Some("c"), 2), Vec::<String>::new());
        assert_eq!(newest(None, 0), Vec::<String>::new());
        assert!(hub.knows_bot("a") && !hub.knows_bot("c"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        hub.write("b", Some("r"), Level::Info, &"é".repeat(MAX_LINE));
        let lines = hub.of_run("r").unwrap();
        let line = &lines[0].line;
        assert!(line.len() <= MAX_LINE && line.ends_with("é\u{2026}"), "{line}");
    }

    #[test]
    fn a_line_that_is_cut_anywhere_costs_itself_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        hub.write("b", Some("r"), Level::Info, "é");
        let path = hub.file("b", Some("r"));
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, whole.get(..end).unwrap()).unwrap();
            hub.write("b", Some("r"), Level::Info, "next");
            let lines: Vec<_> = hub.of_run("r").unwrap().into_iter().map(|line| line.line).collect();
            // All but the end of the line is a line.
            let expected: &[&str] = if end + 1 == whole.len() {
                &["é", "next"]
            } else {
                &["next"]
            };
            assert_eq!(lines, expected, "cut after {end} bytes");
        }
    }
}
