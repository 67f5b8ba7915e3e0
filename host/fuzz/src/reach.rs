//! What `host/src/reach` compares, without the clients that connect.

#[path = "../../src/reach/address.rs"]
mod address;
#[path = "../../src/reach/glob.rs"]
mod glob;
#[path = "../../src/reach/host.rs"]
mod host;
#[path = "../../src/reach/network.rs"]
mod network;
#[path = "../../src/reach/pattern.rs"]
mod pattern;
#[path = "../../src/reach/permits.rs"]
mod permits;
#[path = "../../src/reach/target.rs"]
mod target;
#[path = "../../src/reach/written.rs"]
mod written;

pub use glob::Glob;
pub use host::{BadHost, Host, HostPattern};
pub use pattern::{Pattern, WebPattern};
pub use permits::Permits;
pub use target::{Scheme, Target};
pub(crate) use written::stored_as_text;
