//! `key sign`: a detached signature over a bot's component.

use std::path::PathBuf;

use super::common::Context;
use super::error::CliError;
use crate::keys::{KeyStore, PassphraseSource, Role};
use crate::supervisor::signature_of;

/// Which component, by whom.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The component's file; its signature is written beside it, as FILE.asc
    file: PathBuf,
    /// The key, with the role `bots` or of your GnuPG ring
    #[arg(long, value_name = "KEY")]
    pub(super) key: String,
    #[command(flatten)]
    pub(super) unlock: super::key::Unlock,
}

/// Sign it.
pub fn run(store: &KeyStore, args: Args, context: &mut Context) -> Result<(), CliError> {
    let passphrases: PassphraseSource = args.unlock.source();
    let signer = store.signer(&args.key, Role::Bots, &passphrases)?;
    let cannot = |what, path: &PathBuf, error: &dyn std::fmt::Display| {
        CliError::failed(format_args!("cannot {what} {}: {error}", path.display()))
    };
    let component = std::fs::File::open(&args.file).map_err(|error| cannot("read", &args.file, &error))?;
    let signature = signer
        .detach_sign_armored(component)
        .map_err(|error| cannot("sign", &args.file, &error))?;
    let path = signature_of(&args.file);
    std::fs::write(&path, signature).map_err(|error| cannot("write", &path, &error))?;
    if context.common.json {
        return context
            .out
            .json(&serde_json::json!({ "signature": path, "key": signer.fingerprint().to_string() }));
    }
    context.note(format_args!(
        "signed {} with {}",
        args.file.display(),
        signer.fingerprint()
    ));
    context.out.line(path.display())
}
