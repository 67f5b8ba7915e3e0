//! What the host reaches over a network for somebody else: which servers grants name, to which addresses their names may
//! lead, who gets credentials, which redirects are followed (`docs/adr/0032-one-client-policy.md`).
//!
//! One mechanism each, for every capability that speaks to servers. This room knows no bot and no protocol: it uses no other.
//!
//! ```text
//! grant ── Pattern ──┐
//!                    ├─ Permits::admit(Target) ── Addresses ── Rule ── Client (connects to checked addresses only)
//! URL ──── Target ───┘                                          │
//! foundry.toml ── Network (private-hosts, clear-text-hosts) ────┘
//! ```

mod address;
mod client;
mod glob;
mod host;
mod network;
mod pattern;
mod permits;
mod redirect;
mod target;
mod written;

#[cfg(test)]
mod tests;

pub use address::is_public;
pub use client::Client;
pub use glob::Glob;
pub use host::{BadHost, Host, HostPattern};
pub use network::{Addresses, ClearText, Exposed, Network, PrivateAddress, Rule};
pub use pattern::{BadPattern, Pattern, WebPattern};
pub use permits::Permits;
pub use redirect::{BadRedirect, redirect};
pub use target::{Scheme, Server, Target};
pub(crate) use written::stored_as_text;
