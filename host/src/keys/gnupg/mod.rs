//! The user's GnuPG ring: public keys from gpg, signatures from gpg-agent.
//!
//! ```text
//!   KeyStore ──> ring      which key a name means (`gpg --list-keys`, `gpg --export`), remembered until the ring changes
//!   Signer   ──> agent     one key's secret, behind gpg-agent's socket (Assuan): no gpg process for a signature
//!                  ├ socket  where the agent listens; starting it
//!                  ├ assuan  the protocol's lines
//!                  └ sexp    the agent's signature values
//!   key list ──> listing   what `gpg --with-colons` prints
//!   key import > import    taking a key out of the ring, with its secret if that is wanted
//! ```
//!
//! Nothing is written into the ring and no secret leaves it. gpg is run without its option files (`--no-options`): they are
//! made for a person, and what `armor`, `default-key`, `sig-notation` or a misspelt line does to the output depends on the
//! machine. The agent's own options (`gpg-agent.conf`: pinentry, cache, card reader) stay in force.

mod agent;
mod assuan;
mod command;
mod error;
mod import;
mod listing;
mod ring;
mod sexp;
mod socket;

pub(super) use agent::AgentKey;
pub use error::GnupgError;
pub use import::GnupgKey;
pub(super) use ring::{Ring, RingKey};
