//! Grants of mail.

#[path = "../../src/capability/mail/pattern.rs"]
mod pattern;

pub use pattern::MailPattern;
