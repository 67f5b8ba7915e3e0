//! The bot's log.

use crate::bindings::foundry::bot::log::{Level, log};

/// For the bot's author.
pub fn trace(line: impl AsRef<str>) {
    log(Level::Trace, line.as_ref());
}

/// For whoever looks for a fault.
pub fn debug(line: impl AsRef<str>) {
    log(Level::Debug, line.as_ref());
}

/// The normal course.
pub fn info(line: impl AsRef<str>) {
    log(Level::Info, line.as_ref());
}

/// Something that may need attention.
pub fn warn(line: impl AsRef<str>) {
    log(Level::Warn, line.as_ref());
}

/// Something that failed.
pub fn error(line: impl AsRef<str>) {
    log(Level::Error, line.as_ref());
}
