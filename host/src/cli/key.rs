//! `key`: the host's OpenPGP keys.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use super::common::Context;
use super::error::CliError;
use super::output::printable;
use super::{key_sign, key_trust, loose};
use crate::event::policy::Loose;
use crate::keys::{
    Algorithm, Encoding, GnupgKey, KeyInfo, KeyStore, NewKey, Passphrase, PassphraseSource, RevocationReason, Role,
};
use crate::supervisor::parse_duration;

/// What to do.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys have roles: `messages` signs the messages between hosts, `packages` is signbot's, `repository`
is distbot's, `commits` are the public keys of committers, and `bots` signs bots. KEY is a fingerprint, a key id, an
e-mail address or a user id.

Keys of your GnuPG ring serve as they stand, without a role: `list` shows those that can sign,
`export` prints them, and `--gpg-key` takes them if the host's store has none of the name.

Examples:
  foundry-host key generate                                one key for each role that has none
  foundry-host key generate --role packages --user-id 'Example packages <packages@example.org>'
  foundry-host key import --role packages --from-gnupg packages@example.org
  foundry-host key import --role messages --host builder-1 --may build builder-1.asc
                                                           believe another host's builds
  foundry-host key export --farm >farm.json                all hosts' keys in one file
  foundry-host key import --farm farm.json
  foundry-host key export KEY > archive-key.asc
  foundry-host key sign build/lint.wasm --key KEY          so that others can load it if they trust you"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make keys
    Generate(Generate),
    /// Take keys over from a file, or from GnuPG
    Import(Import),
    /// List the keys, also those of your GnuPG ring
    List,
    /// Print a public key, or a secret one
    Export(Export),
    /// Say which host has a messages key, and what that host may say
    Allow(key_trust::Allow),
    /// Replace a key's roles
    Roles {
        /// The key
        key: String,
        /// A role; repeat for more
        #[arg(long, required = true, value_name = "ROLE")]
        role: Vec<Role>,
    },
    /// Let a key expire later, or never
    Extend {
        /// The key
        key: String,
        /// How long from now, such as 365d; without it the key never expires
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Take a key out of use, for good
    Revoke {
        /// The key
        key: String,
        /// Why
        #[arg(long, value_enum)]
        reason: Reason,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Sign a bot's component
    Sign(key_sign::Args),
    /// Forget a key, with its secret part
    Remove {
        /// The key
        key: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// What the key is for [default: messages, packages and repository, where there is none yet]
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// User id, such as `Example packages <packages@example.org>` [default: Foundry and the role]
    #[arg(long, value_name = "NAME", requires = "role")]
    user_id: Option<String>,
    /// Kind of key
    #[arg(long, value_enum, default_value_t)]
    algorithm: Kind,
    /// How long it is valid, such as 730d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<Duration>,
    /// Ask for a passphrase that protects the secret part
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,
    /// Protect the secret part with the passphrase in this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// File with keys, armoured or binary, or - for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present_any = ["from_gnupg", "farm"],
        conflicts_with = "from_gnupg"
    )]
    file: Option<PathBuf>,
    /// What the keys are for; repeat for more
    #[arg(long, required_unless_present = "farm", value_name = "ROLE")]
    role: Vec<Role>,
    #[command(flatten)]
    bound: key_trust::Bound,
    /// The secret messages key is this host's own: it signs for this host
    #[arg(long, conflicts_with = "host")]
    own: bool,
    /// Take all messages keys of a farm, as `key export --farm` wrote them, each bound to its host
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "role", "host", "may", "group", "own", "from_gnupg"])]
    farm: Option<PathBuf>,
    /// Take this key out of your GnuPG keyring, secret part and all
    #[arg(long, value_name = "KEY")]
    from_gnupg: Option<String>,
    /// Take only the public part out of GnuPG
    #[arg(long, requires = "from_gnupg")]
    public: bool,
    /// Directory of the GnuPG keyring [default: $GNUPGHOME or ~/.gnupg]
    #[arg(long, value_name = "DIR", requires = "from_gnupg")]
    gnupg_home: Option<PathBuf>,
    /// File with the passphrase that GnuPG needs; else it asks by its own means
    #[arg(long, value_name = "FILE", requires = "from_gnupg")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// The key
    #[arg(required_unless_present_any = ["role", "farm"], conflicts_with_all = ["role", "farm"])]
    key: Option<String>,
    /// Print the public keys of a role as one keyring for gpgv or Signed-By
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["secret", "binary"])]
    role: Option<Role>,
    /// Print all messages keys that are bound to hosts, this host's own among them, for `key import --farm` on the others
    #[arg(long, conflicts_with_all = ["role", "secret", "binary"])]
    farm: bool,
    /// Print the secret key, protected as it is in the store
    #[arg(long)]
    secret: bool,
    /// Print it without armour
    #[arg(long, conflicts_with = "secret")]
    binary: bool,
    /// Write to this file, which only you can read if it is secret
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Unlock {
    /// File with the key's passphrase; else you are asked for it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Kind {
    /// Small and fast
    #[default]
    Ed25519,
    /// For verifiers that know nothing newer
    Rsa4096,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reason {
    /// Somebody else may have the secret part
    Compromised,
    /// Another key has taken its place
    Superseded,
    /// It is not used any more
    Retired,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "not a length of time (write 365d or 720h)".to_owned())
}

/// Do it. The keys are files: no host has to run.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let store = KeyStore::open(context.state().join("keys"))?;
    match args.what {
        What::Generate(args) => generate(&store, args, context),
        What::Import(args) => {
            import(&store, args, context)?;
            note_loose(&store, context).await;
            Ok(())
        }
        What::List => {
            list(&store, context)?;
            note_loose(&store, context).await;
            Ok(())
        }
        What::Export(args) => export(&store, args, context),
        What::Allow(args) => {
            show(&[key_trust::allow(&store, args)?], context)?;
            note_loose(&store, context).await;
            Ok(())
        }
        What::Roles { key, role } => {
            let changed = store.set_roles(&key, &role)?;
            if changed.is_unbound() {
                context.note(format_args!(
                    "it is believed in nothing yet (run `foundry-host key allow {} --host NAME --may DUTY`)",
                    changed.fingerprint
                ));
            }
            show(&[changed], context)
        }
        What::Extend {
            key,
            expires_in,
            unlock,
        } => show(&[store.extend(&key, expires_in, &unlock.source())?], context),
        What::Revoke { key, reason, unlock } => {
            let reason = match reason {
                Reason::Compromised => RevocationReason::Compromised,
                Reason::Superseded => RevocationReason::Superseded,
                Reason::Retired => RevocationReason::Retired,
            };
            show(&[store.revoke(&key, reason, &unlock.source())?], context)
        }
        What::Sign(args) => key_sign::run(&store, args, context),
        What::Remove { key, yes } => remove(&store, &key, yes, context),
    }
}

fn generate(store: &KeyStore, args: Generate, context: &mut Context) -> Result<(), CliError> {
    let passphrase = new_passphrase(args.passphrase, args.passphrase_file)?;
    let roles = match args.role {
        Some(role) => vec![role],
        None => {
            let known = store.list()?;
            let has = |role: &Role| known.iter().any(|key| key.has_secret && key.roles.contains(role));
            [Role::Messages, Role::Packages, Role::Repository]
                .into_iter()
                .filter(|role| !has(role))
                .collect()
        }
    };
    if roles.is_empty() {
        context.note("there is a key for each role already (name one with --role to make another)");
    }
    let mut made = Vec::new();
    for role in roles {
        let new = NewKey {
            user_id: args.user_id.clone().unwrap_or_else(|| format!("Foundry ({role})")),
            algorithm: match args.algorithm {
                Kind::Ed25519 => Algorithm::Ed25519,
                Kind::Rsa4096 => Algorithm::Rsa4096,
            },
            expires_in: args.expires_in,
            passphrase: passphrase.clone(),
        };
        made.push(store.generate(role, &new)?);
    }
    show(&made, context)
}

fn import(store: &KeyStore, args: Import, context: &mut Context) -> Result<(), CliError> {
    if let Some(farm) = &args.farm {
        return show(&key_trust::import_farm(store, farm)?, context);
    }
    let binding = args.bound.binding(&args.role)?;
    let whose = key_trust::whose(binding.as_ref(), args.own, &args.role)?;
    let imported = match (args.from_gnupg, args.file) {
        (Some(query), _) => {
            let passphrase = args.passphrase_file.map(read_passphrase).transpose()?;
            let key = GnupgKey {
                query,
                secret: !args.public,
                home: args.gnupg_home,
                passphrase,
            };
            vec![store.import_from_gnupg(&key, &args.role, whose)?]
        }
        (None, Some(file)) => store.import_as(&read(&file)?, &args.role, whose)?,
        (None, None) => Vec::new(),
    };
    show(&imported, context)
}

/// A file, or standard input for `-`. Wiped when it is dropped, since it may hold a secret key.
pub(super) fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CliError> {
    let mut data = zeroize::Zeroizing::new(Vec::new());
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut data)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut data))
    };
    read.map_err(|error| CliError::failed(format_args!("cannot read {}: {error}", file.display())))?;
    Ok(data)
}

fn export(store: &KeyStore, args: Export, context: &mut Context) -> Result<(), CliError> {
    if args.farm {
        return key_trust::export_farm(store, args.output, context);
    }
    let key = args.key.as_deref().unwrap_or_default();
    if args.secret {
        let secret = store.export_secret(key)?;
        return write(secret.expose(), args.output, 0o600, context);
    }
    let public = match (args.role, args.binary) {
        (Some(role), _) => store.export_keyring(role)?,
        (None, true) => store.export_public(key, Encoding::Binary)?,
        (None, false) => store.export_public(key, Encoding::Armored)?,
    };
    write(&public, args.output, 0o644, context)
}

pub(super) fn write(bytes: &[u8], output: Option<PathBuf>, mode: u32, context: &mut Context) -> Result<(), CliError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let Some(path) = output else {
        return context.out.bytes(bytes);
    };
    let file = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|error| CliError::failed(format_args!("cannot write {}: {error}", path.display())))
}

fn remove(store: &KeyStore, key: &str, yes: bool, context: &mut Context) -> Result<(), CliError> {
    let known = store.find_stored(key)?;
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(CliError::usage(format_args!(
                "cannot ask whether to remove {known}: there is no terminal (add --yes)"
            )));
        }
        let secret = if known.has_secret {
            ", with its secret part, which can't be brought back"
        } else {
            ""
        };
        eprint!("remove {known}{secret}? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(CliError::failed)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Err(CliError::failed("not removed"));
        }
    }
    let removed = store.remove(&known.fingerprint.to_string())?;
    context.note(format_args!("removed {}", printable(&removed.to_string())));
    Ok(())
}

/// Say which keys should be bound to a group. The command that asks has done its work: that the store can't be read now does not
/// undo it.
async fn note_loose(store: &KeyStore, context: &Context) {
    for Loose { what, remedy } in loose::of_keys(&store.list().unwrap_or_default(), &context.state()).await {
        context.note(format_args!("{what} ({remedy})"));
    }
}

/// The store's keys, and those of the user's GnuPG ring that can sign.
fn list(store: &KeyStore, context: &mut Context) -> Result<(), CliError> {
    let mut keys = store.list()?;
    match store.list_gnupg() {
        Ok(ring) => keys.extend(ring),
        Err(error) => context.note(format_args!(
            "the keys of GnuPG are not shown: {}",
            printable(&error.to_string())
        )),
    }
    show(&keys, context)
}

fn show(keys: &[KeyInfo], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&keys);
    }
    let day = |at: OffsetDateTime| {
        at.format(format_description!("[year]-[month]-[day]"))
            .unwrap_or_default()
    };
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let state = match (key.revoked, key.expired, key.has_secret, key.protected) {
                (true, ..) => "revoked",
                (_, true, ..) => "expired",
                (_, _, false, _) if key.kept_by_gnupg => "gpg-agent",
                (_, _, false, _) => "public",
                (_, _, true, true) => "protected",
                (_, _, true, false) => "secret",
            };
            vec![
                key.fingerprint.to_string(),
                key.location.name().to_owned(),
                key.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(","),
                host(key),
                key.may.to_string(),
                groups(key),
                key.algorithm.clone(),
                state.to_owned(),
                key.expires.map_or("never".to_owned(), day),
                key.user_ids.join(", "),
            ]
        })
        .collect();
    context.out.table(
        &[
            "FINGERPRINT",
            "WHERE",
            "ROLES",
            "HOST",
            "MAY",
            "GROUPS",
            "KIND",
            "STATE",
            "EXPIRES",
            "USER ID",
        ],
        &rows,
    )
}

/// The groups in which that host may work.
fn groups(key: &KeyInfo) -> String {
    match key.host {
        Some(_) => key.groups.to_string(),
        None => "-".to_owned(),
    }
}

/// The host that has a messages key.
fn host(key: &KeyInfo) -> String {
    match &key.host {
        Some(host) => host.clone(),
        None if key.is_unbound() => "nobody".to_owned(),
        None => "-".to_owned(),
    }
}

impl Unlock {
    /// The file, the environment, or whoever sits at the terminal.
    pub(super) fn source(self) -> PassphraseSource {
        let source = match self.passphrase_file {
            Some(path) => PassphraseSource::none().with_common_file(path),
            None => PassphraseSource::from_environment(),
        };
        source.with_prompt(Arc::new(|key: &KeyInfo| {
            let answer = rpassword::prompt_password(format!("passphrase of {}: ", printable(&key.to_string())))?;
            Ok(Passphrase::new(answer))
        }))
    }
}

fn new_passphrase(ask: bool, file: Option<PathBuf>) -> Result<Option<Passphrase>, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format_args!("cannot ask for a passphrase: {error}"));
    match (file, ask) {
        (Some(path), _) => read_passphrase(path).map(Some),
        (None, false) => Ok(None),
        (None, true) => {
            let first = Passphrase::new(rpassword::prompt_password("new passphrase: ").map_err(failed)?);
            let second = Passphrase::new(rpassword::prompt_password("once more: ").map_err(failed)?);
            match (first.expose().is_empty(), first.expose() == second.expose()) {
                (true, _) => Err(CliError::failed("the passphrase is empty; no key was made")),
                (_, false) => Err(CliError::failed("the passphrases differ; no key was made")),
                (false, true) => Ok(Some(first)),
            }
        }
    }
}

/// The first line of a file.
fn read_passphrase(path: PathBuf) -> Result<Passphrase, CliError> {
    Passphrase::from_file(&path).map_err(CliError::failed)
}
