//! Why a host doesn't start, or a bot isn't loaded.

use std::path::PathBuf;

use super::identity::IdentityError;
use super::options::OptionError;
use super::signature::SignatureError;
use crate::capability::build::BuildError;
use crate::capability::mail::MailSetupError;
use crate::capability::{ArtifactError, Lacking};
use crate::keys::KeyError;
use crate::ledger::LedgerError;
use crate::runtime::{AdmissionError, DescribeError, Fault, LoadError};
use crate::tls::ClientTlsError;

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The state directory can't be used.
    #[error("cannot use the state directory {}: {source}", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ledger can't be copied, to be looked at.
    #[error("cannot copy the ledger {}: {source} (a dry run looks at a copy below {}; choose another place with TMPDIR, or ask the running host)", path.display(), std::env::temp_dir().display())]
    LedgerCopy {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another host has it.
    #[error("another foundry-host is using {} (stop it, or give this one its own --state directory)", .0.display())]
    StateInUse(PathBuf),
    /// Others may write to the state directory.
    #[error("others may write to the state directory {path} (run `chmod go-w {path}`, after a look at what is in it)", path = .0.display())]
    StateOpen(PathBuf),
    /// The state directory belongs to somebody else.
    #[error(
        "the state directory {} belongs to the user {owner}, and this host runs as the user {user} (choose another with \
         --state, or change its owner)",
        path.display()
    )]
    StateOfAnother {
        /// The directory.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// The number of the user that the host runs as.
        user: u32,
    },
    /// The host's name isn't one.
    #[error("{0:?} is not a host name: use letters, digits, '.', '_' and '-'")]
    BadName(String),
    /// It has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its state directory is a copy of a running host's, or that one's of it.
    #[error(
        "cannot run {host}: this is a copy of the host that runs on {machine} (stop that one first; or, to have both, give this \
         one another host.name in foundry.toml and remove {})",
        identity.display()
    )]
    Copy {
        /// The name.
        host: String,
        /// The machine of the one that runs.
        machine: String,
        /// The file that makes it a copy.
        identity: PathBuf,
    },
    /// Another host runs under its name.
    #[error(
        "cannot run {host}: another host has the name, on {machine} (give this one another host.name in foundry.toml)"
    )]
    NameTaken {
        /// The name.
        host: String,
        /// The machine of the one that runs.
        machine: String,
    },
    /// Somebody says that he runs under its name, and is not believed.
    #[error(
        "cannot run {host}: somebody answers for that name, and {why} (give this host another host.name in foundry.toml; if you \
         know that no other host has the name, start it with --take-over)"
    )]
    NameClaimed {
        /// The name.
        host: String,
        /// Why he is not believed.
        why: String,
    },
    /// The embedded broker didn't start.
    #[error(transparent)]
    Broker(#[from] foundry_broker::Error),
    /// TLS to the broker can't be set up.
    #[error("cannot connect to the broker: {0}")]
    ClientTls(#[from] ClientTlsError),
    /// The ledger can't be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The artifact store can't be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The directory of builds can't be used.
    #[error("cannot set up builds: {0}")]
    Builds(#[from] BuildError),
    /// Mail can't be sent.
    #[error("cannot set up mail: {0}")]
    Mail(#[from] MailSetupError),
    /// The key that signs messages can't be used.
    #[error("cannot sign messages: {0}")]
    Key(#[from] KeyError),
    /// The WebAssembly engine can't be set up.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// A capability can't be set up.
    #[error("cannot set up {what}: {why}")]
    Capability {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Why a bot could not be loaded, stopped, or asked.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// There is no stock bot of that name.
    #[error("there is no stock bot {0:?} (they are {1}; for a component's file write its path, such as ./{0}.wasm)")]
    NoSuchStockBot(String, String),
    /// The component can't be read or compiled.
    #[error(transparent)]
    Component(#[from] LoadError),
    /// It is another component than the operator pinned.
    #[error(
        "cannot load {name}: its digest is {found}, not {pinned} (it was changed; if that is right, pin the new digest)"
    )]
    Digest {
        /// The bot.
        name: String,
        /// The operator's digest.
        pinned: String,
        /// The component's.
        found: String,
    },
    /// Its signature is missing, or doesn't hold.
    #[error("cannot load {name}: {error}")]
    Signature {
        /// The bot.
        name: String,
        /// What is wrong.
        error: SignatureError,
    },
    /// The component may not run here.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It asks for more than its operator granted.
    #[error("cannot load {name}: {lacking}")]
    NotGranted {
        /// The bot.
        name: String,
        /// What is missing.
        lacking: Lacking,
    },
    /// A bot from a file would have topics of the pipeline or of the hosts as its own by its name.
    #[error(
        "a bot from a file can't be called {0}: that is a topic of the pipeline or of the hosts (choose another name with --as)"
    )]
    ReservedName(String),
    /// The component doesn't say what it is.
    #[error(transparent)]
    Description(#[from] DescribeError),
    /// The component failed while it checked its options.
    #[error("cannot load {name}: its {call} {fault}")]
    Fault {
        /// The bot.
        name: String,
        /// Such as `configure`.
        call: &'static str,
        /// How.
        fault: Fault,
    },
    /// The bot refuses its options.
    #[error("cannot load {name}: {why}")]
    Refused {
        /// The bot.
        name: String,
        /// Its reason.
        why: String,
    },
    /// An option is unknown, missing or malformed.
    #[error("cannot load {name}: {error}")]
    Options {
        /// The bot.
        name: String,
        /// What is wrong.
        error: OptionError,
    },
    /// The name is taken.
    #[error(
        "a bot named {0} is loaded already (choose another name with --as, load this one in its place with --replace, or stop \
         it with `foundry-host stop {0}`)"
    )]
    NameTaken(String),
    /// A bot from a file has the name of one that is loaded, and nobody gave it another.
    #[error(
        "{0} is loaded already (load a second one under a name of its own with --as NAME; load this one in its place with \
         --replace, or now and after each build with --watch; or stop it with `foundry-host stop {0}`)"
    )]
    AlreadyLoaded(String),
    /// The name can't be used.
    #[error("{0:?} is not a bot's name: use letters, digits, '.', '_' and '-'")]
    BadName(String),
    /// No bot has the name.
    #[error("no bot named {0} is loaded here (see `foundry-host list`)")]
    NoSuchBot(String),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}
