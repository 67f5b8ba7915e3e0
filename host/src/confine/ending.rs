//! What the end of a helper says: by which signal, with which status, with which last words.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::error::ConfineError;
use super::limits::Limits;

/// Exit status of a helper that could not be shut in.
pub(super) const NOT_CONFINED: u8 = 70;
/// Exit status of one that got no more memory, where a library said so instead of ending the process.
pub(super) const NO_MEMORY: u8 = 71;

/// What Rust's runtime says before it aborts for want of memory.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// Why a helper ended that was not asked to.
pub(super) fn error(status: ExitStatus, said: &[u8], limits: &Limits) -> ConfineError {
    let said = words(said);
    match (status.signal(), status.code()) {
        (Some(libc::SIGABRT), _) if said.contains(OUT_OF_MEMORY) => ConfineError::Memory(limits.memory),
        (Some(libc::SIGXCPU), _) => ConfineError::Processor(limits.processor),
        (Some(libc::SIGXFSZ), _) => ConfineError::File(limits.file),
        (Some(libc::SIGSYS), _) => ConfineError::ForeignCall,
        (Some(signal), _) => ConfineError::Killed { signal, said },
        (None, Some(code)) if code == i32::from(NOT_CONFINED) => ConfineError::Setup(said),
        (None, Some(code)) if code == i32::from(NO_MEMORY) => ConfineError::Memory(limits.memory),
        (None, code) => ConfineError::Ended {
            status: code.unwrap_or_default(),
            said,
        },
    }
}

/// Last words on one line, without what a terminal would obey: a stranger may have chosen them.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let plain = text.replace(|character: char| character.is_control(), " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        memory: 96 << 20,
        processor: 20,
        time: Duration::from_secs(60),
        message: 1 << 20,
        file: 0,
        descriptors: 8,
    };

    fn told(raw: i32, said: &str) -> String {
        error(ExitStatus::from_raw(raw), said.as_bytes(), &LIMITS).to_string()
    }

    #[test]
    fn limits_are_told_as_such() {
        let abort = "memory allocation of 12 bytes failed\n";
        assert_eq!(told(libc::SIGABRT, abort), "it takes more than 96 MiB of memory");
        assert_eq!(
            told(i32::from(NO_MEMORY) << 8, ""),
            "it takes more than 96 MiB of memory"
        );
        assert_eq!(told(libc::SIGXCPU, ""), "it takes more than 20 s of processor time");
    }

    #[test]
    fn other_ends_are_told_with_the_last_words_on_one_line() {
        let told_of_abort = told(libc::SIGABRT, "one\r\n\x1b[2Jtwo");
        assert_eq!(told_of_abort, "its helper process was killed by signal 6: one [2Jtwo");
        assert_eq!(told(1 << 8, ""), "its helper process ended with status 1");
        let setup = told(i32::from(NOT_CONFINED) << 8, "no filter\n");
        assert_eq!(setup, "a helper process cannot be confined: no filter");
    }

    #[test]
    fn what_ended_by_the_machines_doing_is_not_blamed_on_the_input() {
        let by_input = |raw| error(ExitStatus::from_raw(raw), b"", &LIMITS).is_by_input();
        assert!(by_input(libc::SIGSEGV) && by_input(libc::SIGXCPU) && by_input(1 << 8));
        assert!(!by_input(libc::SIGKILL) && !by_input(i32::from(NOT_CONFINED) << 8));
    }
}
