//! What a host sees of the files of its sandboxes: those in their directories, and those that have no name any more.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::keeper::Keeper;
use super::machine;
use super::usage;

/// Lists the files without a name that are in directories of open files, after a line which says that it is there.
const FIND_UNNAMED: &str = "\
echo entered
exec find -L \"$@\" -maxdepth 1 -type f -links 0 -printf '%D %i %n %b %y\\n'";

/// A file as its directory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub dev: u64,
    pub ino: u64,
    /// How many names it has; for a directory, that says nothing.
    pub links: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub is_dir: bool,
}

impl Keeper {
    /// Shows every file below some directories, which are all on one file system, to `each`.
    ///
    /// # Errors
    /// If nobody can look. What vanishes meanwhile is no error.
    pub fn each_below(&self, places: &[PathBuf], each: &mut dyn FnMut(Entry)) -> io::Result<()> {
        if self.ids.is_none() {
            walk(places, each);
            return Ok(());
        }
        let there = places.iter().filter(|place| place.exists());
        let mut words: Vec<OsString> = vec!["find".into()];
        words.extend(there.map(OsString::from));
        if words.len() == 1 {
            return Ok(());
        }
        words.extend(["-mindepth", "1", "-printf", "%D %i %n %b %y\\n"].map(OsString::from));
        let mut child = self.start(&words, Stdio::null())?;
        lines(&mut child, &mut |line| {
            if let Some(entry) = parse(line) {
                each(entry);
            }
        })?;
        child.wait().map(|_| ())
    }

    /// Shows the files that processes have open and that have no name any more to `each`. Of an ordinary user's host,
    /// `ancestor` is a process in the user namespace that theirs descend from.
    ///
    /// # Errors
    /// If nobody can look. Processes that end meanwhile are no error.
    pub fn each_unnamed(&self, processes: &[i32], ancestor: u32, each: &mut dyn FnMut(Entry)) -> io::Result<()> {
        let open = processes.iter().map(|pid| format!("/proc/{pid}/fd"));
        if self.ids.is_none() {
            open.flat_map(fs::read_dir)
                .flatten()
                .flatten()
                .filter_map(|entry| fs::metadata(entry.path()).ok())
                .filter(|kind| kind.is_file() && kind.nlink() == 0)
                .for_each(|kind| each(Entry::of(&kind)));
            return Ok(());
        }
        if processes.is_empty() {
            return Ok(());
        }
        let mut child = Command::new("nsenter")
            .arg(format!("--user=/proc/{ancestor}/ns/user"))
            .args(["--", "sh", "-c", FIND_UNNAMED, "sh"])
            .args(open)
            .env_clear()
            .env("PATH", machine::PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut entered = false;
        lines(&mut child, &mut |line| {
            entered = true;
            if let Some(entry) = parse(line) {
                each(entry);
            }
        })?;
        child.wait()?;
        if entered || usage::is_gone(i32::try_from(ancestor).unwrap_or(i32::MAX)) {
            Ok(())
        } else {
            Err(io::Error::other(
                "nsenter cannot look at the files that are open in the sandbox",
            ))
        }
    }
}

/// Shows each line of what a child says.
fn lines(child: &mut Child, each: &mut dyn FnMut(&str)) -> io::Result<()> {
    let Some(output) = child.stdout.take() else {
        return Ok(());
    };
    for line in BufReader::new(output).lines() {
        each(&line?);
    }
    Ok(())
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (dev, ino, links, blocks) = (number()?, number()?, number()?, number()?);
    let is_dir = words.next()? == "d";
    Some(Entry {
        dev,
        ino,
        links,
        blocks,
        is_dir,
    })
}

impl Entry {
    fn of(kind: &fs::Metadata) -> Self {
        Self {
            dev: kind.dev(),
            ino: kind.ino(),
            links: kind.nlink(),
            blocks: kind.blocks(),
            is_dir: kind.is_dir(),
        }
    }
}

fn walk(places: &[PathBuf], each: &mut dyn FnMut(Entry)) {
    let mut pending = places.to_vec();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(kind) = entry.metadata() else { continue };
            each(Entry::of(&kind));
            if kind.is_dir() {
                pending.push(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_find_is_a_file() {
        let entry = parse("2049 77 2 16 d").unwrap();
        assert_eq!(
            (entry.dev, entry.ino, entry.links, entry.blocks, entry.is_dir),
            (2049, 77, 2, 16, true)
        );
        assert_eq!(parse("2049 77 2"), None);
    }
}
