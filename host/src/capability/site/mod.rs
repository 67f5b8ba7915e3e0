//! `site`: directories that the host publishes, changed in transactions.
//!
//! A [`Transaction`] collects its changes in a staging directory on the site's own file system. Renaming that directory
//! is the commit: before it nothing has happened, and after it the changes take effect even if this process dies at once,
//! because whoever opens the site next finishes them first. Each file appears by one atomic rename.
//!
//! What is published can be read by everybody, whatever the umask is: files have mode 0644, the directories that are made for
//! it 0755. A directory that was there keeps its mode, since its owner chose it; [`Closed`] finds those that keep others out.
//!
//! ```text
//! <site>/.foundry/           not for the web: mode 0700
//!     lock                   one writer at a time, over all processes; released by the kernel when its owner dies
//!     transactions/
//!         staging/           being collected; swept if its owner died
//!         committed/         being applied; finished by the next writer if its owner died
//!     mirror.json            where the copy in a bucket is, if there is one
//!     texts/                 which pieces large texts are made of; made anew if lost
//!     ...                    the bot's own records
//! ```

mod add;
mod apply;
mod binding;
mod compress;
mod digest;
mod error;
mod examine;
mod format;
mod layout;
mod lock;
mod mirror;
mod others;
mod path;
mod running;
mod sha512;
mod splice;
mod text;
mod texts;
mod threads;
mod transaction;
mod xz;

pub use add::{Kept, Placed, StagedFile};
pub use binding::AddError;
pub use compress::{Compression, compress};
pub use digest::Digest;
pub use error::SiteError;
pub use format::Extras;
pub use lock::Sites;
pub use mirror::{Mirror, MirrorState};
pub use others::Closed;
pub use sha512::sha512_of;
pub use text::{Checksum, NewPiece, Piece, Splice, Spliced, Text};
pub use transaction::Transaction;

/// The site's directory for records that aren't published.
const PRIVATE: &str = ".foundry";

/// Where transactions are staged.
const TRANSACTIONS: &str = ".foundry/transactions";

#[cfg(test)]
mod add_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
