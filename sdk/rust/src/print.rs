//! `println!` and its like for a target whose standard library has no standard streams.
//!
//! On `wasm32-unknown-unknown` the standard library's own print nothing, without a word. These write to the bot's log, a
//! line at a time: what goes to standard output as info, what goes to standard error as a warning. Elsewhere they are the
//! standard library's: the host makes log lines of what a bot for WASI prints.

use std::fmt::Arguments;

/// One of the standard streams.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

#[doc(hidden)]
pub fn print(stream: Stream, text: Arguments<'_>) {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    by_lines::print(stream, text);
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    match stream {
        Stream::Out => std::print!("{text}"),
        Stream::Err => std::eprint!("{text}"),
    }
}

/// The call is over: what has no line end yet is a line all the same.
#[doc(hidden)]
pub fn end() {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    by_lines::end();
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    {
        use std::io::Write;
        // Nobody is left to be told.
        let _ = std::io::stdout().flush();
    }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod by_lines {
    use std::fmt::Arguments;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::Stream;
    use crate::log;

    /// What has no line end yet.
    static PARTIAL: [Mutex<String>; 2] = [const { Mutex::new(String::new()) }; 2];

    fn partial(stream: Stream) -> MutexGuard<'static, String> {
        let [out, err] = &PARTIAL;
        let partial = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(stream: Stream, line: &str) {
        match stream {
            Stream::Out => log::info(line),
            Stream::Err => log::warn(line),
        }
    }

    pub(super) fn print(stream: Stream, text: Arguments<'_>) {
        // Before anything is locked: a text may print, or panic.
        let text = text.to_string();
        let mut partial = partial(stream);
        partial.push_str(&text);
        while let Some(end) = partial.find('\n') {
            let line: String = partial.drain(..=end).collect();
            write(stream, line.trim_end_matches(['\n', '\r']));
        }
    }

    pub(super) fn end() {
        for stream in [Stream::Out, Stream::Err] {
            let line = std::mem::take(&mut *partial(stream));
            if !line.is_empty() {
                write(stream, &line);
            }
        }
    }
}

/// Like the standard library's, which prints nothing on this target: to the bot's log, as info.
#[macro_export]
macro_rules! println {
    () => {
        $crate::__print($crate::__Stream::Out, ::core::format_args!("\n"))
    };
    ($($text:tt)*) => {
        $crate::__print(
            $crate::__Stream::Out,
            ::core::format_args!("{}\n", ::core::format_args!($($text)*)),
        )
    };
}

/// Like the standard library's, which prints nothing on this target: to the bot's log, as info, when the line ends.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => {
        $crate::__print($crate::__Stream::Out, ::core::format_args!($($text)*))
    };
}

/// Like the standard library's, which prints nothing on this target: to the bot's log, as a warning.
#[macro_export]
macro_rules! eprintln {
    () => {
        $crate::__print($crate::__Stream::Err, ::core::format_args!("\n"))
    };
    ($($text:tt)*) => {
        $crate::__print(
            $crate::__Stream::Err,
            ::core::format_args!("{}\n", ::core::format_args!($($text)*)),
        )
    };
}

/// Like the standard library's, which prints nothing on this target: to the bot's log, as a warning, when the line ends.
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::__print($crate::__Stream::Err, ::core::format_args!($($text)*))
    };
}
