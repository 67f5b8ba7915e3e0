//! Write Foundry bots in Rust.
//!
//! A bot is a type that implements [`Bot`]; [`export!`] makes a component of it:
//!
//! ```ignore
//! use foundry_sdk::{Bot, Description, Message, Outcome, export, log};
//!
//! struct Greeter;
//!
//! impl Bot for Greeter {
//!     fn describe() -> Description {
//!         Description::new("greeter", env!("CARGO_PKG_VERSION"), "greets every commit")
//!             .reads("watch", "commits", "greeter")
//!     }
//!
//!     fn handle(message: Message) -> Outcome {
//!         log::info(format!("hello, {}", message.subject.unwrap_or_default()));
//!         Outcome::Done
//!     }
//! }
//!
//! export!(Greeter);
//! ```
//!
//! Each message is handled by a fresh instance: nothing stays in memory, and what has to last goes into [`state`].
//! What a handler publishes and writes takes effect when it returns [`Outcome::Done`], all of it or nothing.

#![warn(missing_docs)]

pub mod events;
pub mod log;
pub mod mail;
pub mod options;
pub mod statement;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

mod describe;
mod outcome;
mod print;
mod publish;

pub use describe::{Description, OptionBuilder};
pub use outcome::{Outcome, retry_after, retry_now};
#[doc(hidden)]
pub use print::{Stream as __Stream, print as __print};
pub use publish::{Event, publish};

#[doc(hidden)]
pub mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: "../../wit",
        world: "bot",
        pub_export_macro: true,
        default_bindings_module: "foundry_sdk::bindings",
        export_macro_name: "export_world",
        generate_all,
    });
}

pub use bindings::foundry::bot::types::{Artifact, Message, OptionKind};
pub use bindings::foundry::bot::{artifacts, build, clock, git, http, signing, site, state};

/// A bot. Implement [`handle`](Bot::handle) for messages, [`tick`](Bot::tick) for timers.
pub trait Bot {
    /// What the bot is: its name, options, topics and timers.
    fn describe() -> Description;

    /// Check the options, once, before the first message.
    ///
    /// # Errors
    /// A sentence for the operator if the bot can't work with them.
    fn configure() -> Result<(), String> {
        Ok(())
    }

    /// Handle one message.
    fn handle(message: Message) -> Outcome {
        Outcome::Reject(format!("this bot does not handle messages ({})", message.event_type))
    }

    /// A timer went off.
    fn tick(timer: &str) -> Outcome {
        let _ = timer;
        Outcome::Done
    }
}

/// Make a component of a type that implements [`Bot`].
#[macro_export]
macro_rules! export {
    ($bot:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::Guest for Component {
                fn describe() -> $crate::bindings::foundry::bot::types::Description {
                    $crate::__call(|| <$bot as $crate::Bot>::describe().into())
                }

                fn configure() -> ::core::result::Result<(), ::std::string::String> {
                    $crate::__call(|| <$bot as $crate::Bot>::configure())
                }

                fn handle(message: $crate::Message) -> $crate::bindings::foundry::bot::types::Outcome {
                    $crate::__call(|| <$bot as $crate::Bot>::handle(message).into())
                }

                fn tick(timer: ::std::string::String) -> $crate::bindings::foundry::bot::types::Outcome {
                    $crate::__call(|| <$bot as $crate::Bot>::tick(&timer).into())
                }
            }

    $crate::bindings::export_world!(Component with_types_in $crate::bindings);
        };
    };
}

/// Every export: a panic's text goes to the bot's log before the instance traps, and what was printed is there at the end.
#[doc(hidden)]
pub fn __call<T>(work: impl FnOnce() -> T) -> T {
    std::panic::set_hook(Box::new(|panic| {
        print::end();
        log::error(panic.to_string());
    }));
    let result = work();
    print::end();
    result
}
