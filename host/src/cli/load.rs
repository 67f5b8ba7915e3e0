//! `load`: a bot into the running host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches};

use super::common::{CommonArgs, ConfigArgs, Context, state_among};
use super::error::CliError;
use super::{PROGRAM, bot_command, daemon, reload, surprised};
use crate::capability::build::SourceGrant;
use crate::capability::{Grants, Interface, MailPattern, PublishGrant, ReadGrant, shell_word};
use crate::config::{BAD_DIGEST, parse_bot_source, parse_digest, parse_size};
use crate::control::{Answer, Request};
use crate::reach::{Pattern, WebPattern};
use crate::runtime::ComponentInfo;
use crate::runtime::wit::types::Description;
use crate::supervisor::{BotSource, BotSpec, Inspector, LoadFailure, check_options, parse_duration, signature_of};

/// Which bot, and how.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "foundry-host load [OPTIONS] <BOT> [OPTIONS] [BOT OPTIONS]",
    after_help = "BOT is watchbot, buildbot, signbot, distbot, or a component's file, such as ./lint.wasm.
If no host is running, one is started in the background. The bot comes back when the host starts
again, until it is stopped. The rights of a stock bot follow from its options; a bot from a file has
those that --allow-… grants, and the topics NAME and NAME/…, NAME being its name on this host. What
else it asks for is refused, with the command line that grants it. A stock bot can be loaded any
number of times; a bot from a file that is loaded already needs --as or --replace.

Examples:
  foundry-host load watchbot --repository https://example.org/hello.git#main
  foundry-host load signbot --help
  foundry-host load ./lint.wasm --as lint --allow-read builds --allow-publish reports
  foundry-host load --replace ./lint.wasm --as lint
  foundry-host load --watch build/greeter.wasm"
)]
pub struct Args {
    /// The bot, then its options: see `foundry-host load BOT --help`
    #[arg(required = true, trailing_var_arg = true, value_name = "BOT")]
    bot: Vec<OsString>,
    /// Load it again whenever its file changes, until interrupted; a build that can't be loaded changes nothing
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// What the host is told about the bot.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Options of the host")]
pub struct HostArgs {
    /// Name on this host [default: the bot's own; a stock bot gets a number if that is taken]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Load it in the place of the bot that has its name, which goes on if this one can't be loaded
    #[arg(long)]
    replace: bool,
    /// Messages that it may handle at the same time [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    instances: Option<u16>,
    /// Load it only if this is its digest: sha256: and hex, as `inspect` shows it
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<String>,
    /// Load it only if a key with the role `bots` signed it
    #[arg(long)]
    signed: bool,
    /// Memory of one instance, such as 64M [default: 256M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<usize>,
    /// Time that one message may take, such as 90s or 5m [default: what the bot asks for, up to
    /// host.longest-message, or 2m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Let it read this git repository; * stands for any text within the host or the path
    #[arg(long, value_name = "URL")]
    allow_git: Vec<Pattern>,
    /// Let it ask this URL over HTTP; * stands for any text within the host or the path
    #[arg(long, value_name = "URL")]
    allow_http: Vec<WebPattern>,
    /// Let it have the host send mail to this address; * stands for any text before or after the @
    #[arg(long, value_name = "ADDRESS")]
    allow_mail: Vec<MailPattern>,
    /// Load it without this right that it asks for: http, mail, git, signing or site. Each use of it is refused
    #[arg(long, value_name = "RIGHT", value_parser = right)]
    without: Vec<Interface>,
    /// Let it read this topic; + and # as in MQTT. TOPIC@ENDPOINT: also as a member of that group
    #[arg(long, value_name = "TOPIC")]
    allow_read: Vec<ReadGrant>,
    /// Let it publish on this topic; + and # as in MQTT. TOPIC:TYPE: events of that type of the pipeline
    #[arg(long, value_name = "TOPIC")]
    allow_publish: Vec<PublishGrant>,
    /// Let it have the host sign with this key
    #[arg(long, value_name = "KEYID")]
    allow_sign: Vec<String>,
    /// Let it publish into this directory
    #[arg(long, value_name = "DIR")]
    allow_site: Vec<PathBuf>,
    /// Let the host use this file for its builds
    #[arg(long, value_name = "FILE")]
    allow_file: Vec<PathBuf>,
    /// Let its builds use this package source, `[OPTIONS] URI SUITE COMPONENT...` as in sources.list; * stands for any
    /// text within each
    #[arg(long, value_name = "SOURCE")]
    allow_apt: Vec<SourceGrant>,
    /// Let it build for this suite, besides the machine's own; * stands for any text
    #[arg(long, value_name = "SUITE")]
    allow_suite: Vec<String>,
    /// Let it build packages
    #[arg(long)]
    allow_build: bool,
    /// Let it read and store artifacts
    #[arg(long)]
    allow_artifacts: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

fn size(text: &str) -> Result<usize, String> {
    parse_size(text).ok_or_else(|| "not a size (write 64M or 1G)".to_owned())
}

fn right(text: &str) -> Result<Interface, String> {
    text.parse()
        .map_err(|error| format!("{error} (write http, mail, git, signing or site)"))
}

fn digest(text: &str) -> Result<String, String> {
    parse_digest(text).ok_or_else(|| BAD_DIGEST.to_owned())
}

/// A length of time on the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "not a length of time (write 30, 90s, 5m or 1h)".to_owned())
}

impl HostArgs {
    /// What was given before the bot's name, and what after it.
    pub(super) fn merged(self, later: Self) -> Self {
        let join = |mut first: Vec<_>, second: Vec<_>| {
            first.extend(second);
            first
        };
        let join_paths = |mut first: Vec<PathBuf>, second: Vec<PathBuf>| {
            first.extend(second);
            first
        };
        Self {
            name: later.name.or(self.name),
            replace: self.replace || later.replace,
            instances: later.instances.or(self.instances),
            digest: later.digest.or(self.digest),
            signed: self.signed || later.signed,
            memory: later.memory.or(self.memory),
            timeout: later.timeout.or(self.timeout),
            allow_git: self.allow_git.into_iter().chain(later.allow_git).collect(),
            allow_http: self.allow_http.into_iter().chain(later.allow_http).collect(),
            allow_mail: self.allow_mail.into_iter().chain(later.allow_mail).collect(),
            without: self.without.into_iter().chain(later.without).collect(),
            allow_read: self.allow_read.into_iter().chain(later.allow_read).collect(),
            allow_publish: self.allow_publish.into_iter().chain(later.allow_publish).collect(),
            allow_sign: join(self.allow_sign, later.allow_sign),
            allow_site: join_paths(self.allow_site, later.allow_site),
            allow_file: join_paths(self.allow_file, later.allow_file),
            allow_apt: self.allow_apt.into_iter().chain(later.allow_apt).collect(),
            allow_suite: self.allow_suite.into_iter().chain(later.allow_suite).collect(),
            allow_build: self.allow_build || later.allow_build,
            allow_artifacts: self.allow_artifacts || later.allow_artifacts,
            config: ConfigArgs {
                config: later.config.config.or(self.config.config),
            },
        }
    }

    /// The configuration's file, if one is named.
    pub(super) fn configuration(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn grants(&self, base: &Path) -> Grants {
        let absolute = |paths: &[PathBuf]| paths.iter().map(|path| crate::config::absolute(path, base)).collect();
        Grants {
            artifacts: self.allow_artifacts,
            build: self.allow_build,
            git: self.allow_git.clone(),
            http: self.allow_http.clone(),
            mail: self.allow_mail.clone(),
            without: self.without.clone(),
            read: self.allow_read.clone(),
            publish: self.allow_publish.clone(),
            sign: self.allow_sign.clone(),
            site: absolute(&self.allow_site),
            files: absolute(&self.allow_file),
            apt: self.allow_apt.clone(),
            suites: self.allow_suite.clone(),
        }
    }

    /// The bot as the host is asked for it.
    pub fn spec(
        &self,
        source: BotSource,
        description: &Description,
        matches: &clap::ArgMatches,
        base: &Path,
    ) -> BotSpec {
        BotSpec {
            name: self.name.clone(),
            options: bot_command::given(description, matches, base),
            grants: self.grants(base),
            instances: self.instances.unwrap_or(1),
            digest: self.digest.clone(),
            signed: self.signed,
            memory: self.memory,
            timeout: self.timeout,
            ..BotSpec::new(source)
        }
    }
}

/// Load the bot.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let chosen = choose("load", args.bot, args.host, context).await?;
    if args.watch {
        return reload::run(chosen, context).await;
    }
    load(chosen, context).await
}

/// A bot, and what the command line says of it.
pub struct Chosen {
    /// What has compiled it.
    pub inspector: Inspector,
    /// Its component.
    pub component: ComponentInfo,
    /// What it says of itself.
    pub description: Description,
    /// What is to be loaded.
    pub spec: BotSpec,
    /// The host's options.
    pub host: HostArgs,
}

/// Read a bot's name and what follows it: its own options, which only it knows, the host's and the common ones.
pub async fn choose(
    verb: &str,
    words: Vec<OsString>,
    before: HostArgs,
    context: &mut Context,
) -> Result<Chosen, CliError> {
    let base = current_directory()?;
    // Needed before the rest can be read: it has the compiled components.
    context.common.state = state_among(&words).or_else(|| context.common.state.clone());
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let source = parse_bot_source(&name.to_string_lossy(), &base);
    let inspector = Inspector::new(context.state().join("compiled")).map_err(CliError::failed)?;
    let inspected = context
        .patiently(format_args!("compiling {source}"), inspector.inspect(&source))
        .await;
    let (component, description) = inspected?;
    let title = format!("{PROGRAM} {verb} {}", name.to_string_lossy());
    let matches = command(&title, &description).try_get_matches_from(std::iter::once(name).chain(words))?;
    let host = before.merged(HostArgs::from_arg_matches(&matches)?);
    context.common = context.common.clone().merged(CommonArgs::from_arg_matches(&matches)?);
    let spec = host.spec(source, &description, &matches, &base);
    Ok(Chosen {
        inspector,
        component,
        description,
        spec,
        host,
    })
}

/// A command with the options of a bot, those of the host, and the common ones.
pub fn command(title: &str, description: &Description) -> Command {
    bot_command::command(title, description, |command| {
        CommonArgs::augment_args(HostArgs::augment_args(command))
    })
}

/// Check options and grants, make sure that a host is there, and have it load the bot.
pub async fn load(chosen: Chosen, context: &mut Context) -> Result<(), CliError> {
    prepare(&chosen, context).await?;
    let Chosen {
        spec,
        description,
        host,
        ..
    } = chosen;
    let replace = host.replace;
    let what = format!("loading {}", spec.source);
    // The name that it has if it is the only one.
    let usual = spec.name.clone().unwrap_or_else(|| description.name.clone());
    let request = if replace {
        Request::Replace(Box::new(spec))
    } else {
        Request::Load(Box::new(spec))
    };
    let client = context.client();
    let loaded = context.patiently(what, client.ask(request)).await?;
    let Answer::Loaded(status) = loaded else {
        return Err(surprised());
    };
    if context.common.json {
        return context.out.json(&status);
    }
    for note in &status.notes {
        context.note(format_args!("note: {}: {note}", status.name));
    }
    match &status.detail {
        Some(detail) => context.note(format_args!(
            "loaded {}, which is {}: {detail}",
            status.name,
            status.condition.name()
        )),
        None if status.name != usual => {
            let group = status.group.as_ref().map(|group| format!(" (group {group})"));
            context.note(format_args!(
                "loaded {}{}, beside {usual}, which is loaded already",
                status.name,
                group.unwrap_or_default()
            ));
        }
        None => context.note(format_args!("loaded {}", status.name)),
    }
    Ok(())
}

/// Check options and grants, and make sure that there is a host.
pub async fn prepare(chosen: &Chosen, context: &mut Context) -> Result<(), CliError> {
    let Chosen { spec, description, .. } = chosen;
    // Before a host is started for nothing.
    check_options(description, spec)
        .map_err(|error| CliError::usage(format_args!("cannot load {}: {error}", description.name)))?;
    if !is_vouched_for(spec) {
        chosen
            .inspector
            .check_grants(spec, &chosen.component, description)
            .map_err(|failure| refusal(failure, std::env::args_os()))?;
    }
    daemon::ensure(&daemon::absolute(chosen.host.config.clone()), context).await
}

/// Whether a digest or a signature says which component is wanted. The host looks at that first, since it has the keys: who
/// has another one should hear of that, and not of what it would have to be granted.
fn is_vouched_for(spec: &BotSpec) -> bool {
    let has_signature = match &spec.source {
        BotSource::File(path) => signature_of(path).exists(),
        BotSource::Stock(_) => false,
    };
    spec.digest.is_some() || spec.signed || has_signature
}

/// A missing grant is told with the command line that has it.
fn refusal(failure: LoadFailure, words: impl Iterator<Item = OsString>) -> CliError {
    let LoadFailure::NotGranted { lacking, .. } = &failure else {
        return failure.into();
    };
    // The program as it is found in PATH, not where this one happens to be.
    let words = words.skip(1).map(|word| shell_word(&word.to_string_lossy()));
    let words: Vec<_> = std::iter::once(PROGRAM.to_owned())
        .chain(words)
        .chain(lacking.flags())
        .collect();
    let command = words.join(" ");
    let CliError::Said(exit, message) = CliError::from(failure) else {
        return CliError::Told(super::exit::Exit::Refused);
    };
    CliError::Said(exit, format!("{message}\nThis would do:\n  {command}"))
}

/// The directory that relative paths begin at.
pub fn current_directory() -> Result<PathBuf, CliError> {
    std::env::current_dir()
        .map_err(|error| CliError::failed(format_args!("cannot tell the current directory: {error}")))
}
