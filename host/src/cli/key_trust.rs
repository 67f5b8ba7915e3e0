//! `key allow`, and the farm's file: which host's messages are believed in what.

use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::keys::{Binding, Duties, Groups, KeyInfo, KeyStore, NotAGroup, Role, Whose};

/// Whose a messages key is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "DUTY is what the host may say: watch (commits), build (builds), sign (signed packages), publish
(publications), operate (control and jobs), head (watch, sign and publish), builder (build), all,
or TYPE@TOPIC for another topology: an event type, or the beginning of some with a final *, on a
topic without prefix, with MQTT's wildcards.

What was said of the key before is replaced. A group that a key is bound to is closed to hosts whose
keys are bound to none: bind all keys of a group, or none.

Examples:
  foundry-host key allow builder-1@example.org --host builder-1 --may build
  foundry-host key allow KEY --host i386 --may build --group pub/buildbot_i386
  foundry-host key allow KEY --host amd64 --may build,foundry.build.v1@builds-2"
)]
pub(super) struct Allow {
    /// The key
    key: String,
    /// Name of the host that has it, as its configuration says
    #[arg(long, value_name = "NAME")]
    host: String,
    /// What that host may say; repeat, or separate by commas, for more
    #[arg(long, required = true, value_name = "DUTY")]
    may: Vec<Duties>,
    /// A group (endpoint) that its bots may work in; repeat for more [default: any that no other
    /// host's key is bound to]
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Vec<String>,
}

/// Whose the messages keys of an import are.
#[derive(Debug, clap::Args)]
pub(super) struct Bound {
    /// Name of the host that has the messages key, as its configuration says
    #[arg(long, value_name = "NAME", requires = "may")]
    host: Option<String>,
    /// What that host may say: watch, build, sign, publish, operate, head, builder, all or TYPE@TOPIC; repeat, or separate
    /// by commas, for more
    #[arg(long, value_name = "DUTY", requires = "host")]
    may: Vec<Duties>,
    /// A group (endpoint) that its bots may work in; repeat for more [default: any that no other
    /// host's key is bound to]
    #[arg(long, value_name = "GROUP", requires = "host", value_parser = group)]
    group: Vec<String>,
}

/// Bind a key.
pub(super) fn allow(store: &KeyStore, args: Allow) -> Result<KeyInfo, CliError> {
    let binding = binding(&args.host, args.may, args.group)?;
    Ok(store.allow(&args.key, &binding)?)
}

impl Bound {
    /// The binding, for keys with these roles.
    pub(super) fn binding(self, roles: &[Role]) -> Result<Option<Binding>, CliError> {
        let Some(host) = self.host else {
            return Ok(None);
        };
        if !roles.contains(&Role::Messages) {
            return Err(CliError::usage(
                "only messages keys belong to a host (add `--role messages`, or leave `--host`, `--may` and `--group` out)",
            ));
        }
        binding(&host, self.may, self.group).map(Some)
    }
}

/// Whose the keys of an import are, which matters for messages keys alone.
pub(super) fn whose<'a>(binding: Option<&'a Binding>, own: bool, roles: &[Role]) -> Result<Whose<'a>, CliError> {
    match (binding, own) {
        (Some(binding), _) => Ok(Whose::Host(binding)),
        (None, false) => Ok(Whose::Unsaid),
        (None, true) if roles.contains(&Role::Messages) => Ok(Whose::Own),
        (None, true) => Err(CliError::usage(
            "only a messages key is a host's own (add `--role messages`, or leave `--own` out)",
        )),
    }
}

fn binding(host: &str, may: Vec<Duties>, groups: Vec<String>) -> Result<Binding, CliError> {
    let binding = Binding::new(host, may.into_iter().collect()).map_err(CliError::usage)?;
    Ok(binding.in_groups(Groups::of(groups).map_err(CliError::usage)?))
}

fn group(text: &str) -> Result<String, NotAGroup> {
    Groups::of([text.to_owned()]).map(|_| text.to_owned())
}

/// Take over all keys of a farm's file.
pub(super) fn import_farm(store: &KeyStore, file: &Path) -> Result<Vec<KeyInfo>, CliError> {
    let data = super::key::read(file)?;
    let imported = store.import_farm(&data);
    imported.map_err(|error| CliError::failed(format_args!("{}: {error}", file.display())))
}

/// Write the farm's file, which holds public keys only.
pub(super) fn export_farm(
    store: &KeyStore,
    output: Option<PathBuf>,
    context: &mut super::common::Context,
) -> Result<(), CliError> {
    for key in store.list()?.iter().filter(|key| key.is_unbound()) {
        context.note(format_args!(
            "left out {}: it is bound to no host",
            super::output::printable(&key.to_string())
        ));
    }
    super::key::write(&store.export_farm()?, output, 0o644, context)
}
