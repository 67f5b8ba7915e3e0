//! `man`: manual pages.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::common::Context;
use super::error::CliError;
use super::{Cli, names};
use crate::config::SETTINGS;

/// What begins the examples at the end of a command's help.
const EXAMPLES: &str = "Examples:";

/// Where to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All pages belong into section 1 (man1), but foundry.toml.5 into section 5 (man5).

Examples:
  foundry-host man /usr/local/share/man/man1"
)]
pub struct Args {
    /// Directory for the pages
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Write a page for the program, one for each verb, one for each name of a stock bot, and one for the configuration.
pub async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let bots = names::commands(&names::NAMES).await?;
    let write = || {
        std::fs::create_dir_all(&args.directory)?;
        for mut command in std::iter::once(Cli::command()).chain(bots) {
            command.build();
            write_with_subcommands(&command, &args.directory)?;
        }
        std::fs::write(args.directory.join("foundry.toml.5"), configuration()?)
    };
    let directory = args.directory.display();
    write().map_err(|error: io::Error| {
        CliError::failed(format_args!("cannot write manual pages to {directory}: {error}"))
    })?;
    context.note(format_args!("wrote the manual pages to {directory}"));
    Ok(())
}

fn write_with_subcommands(command: &Command, directory: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_with_subcommands(subcommand, directory)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    std::fs::write(directory.join(format!("{name}.1")), page(command)?)
}

/// A command's page. What its help has at the end is split into NOTES and EXAMPLES, whose lines stay as they are.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = match end.split_once(EXAMPLES) {
        Some((notes, examples)) => (notes, Some(examples)),
        None => (end.as_str(), None),
    };
    let man = Man::new(command.clone()).source(format!("foundry {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::default();
    let paragraphs: Vec<_> = notes
        .split("\n\n")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if !paragraphs.is_empty() {
        rest.control("SH", ["NOTES"]);
        for paragraph in paragraphs {
            rest.control("PP", []);
            rest.text([roman(paragraph.replace('\n', " "))]);
        }
    }
    if let Some(examples) = examples {
        rest.control("SH", ["EXAMPLES"]);
        // No filling: a command must not be broken or hyphenated.
        rest.control("nf", []);
        for line in examples.trim_matches('\n').lines() {
            rest.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        rest.control("fi", []);
    }
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// The page of `foundry.toml`, from the table that its parser goes by.
fn configuration() -> io::Result<Vec<u8>> {
    let source = format!("foundry {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::default();
    page.control("TH", ["foundry.toml", "5", "", source.as_str(), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("foundry.toml - configuration of a foundry-host")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Describes a host and its bots. `foundry-host check -c foundry.toml` tells what is wrong with it without running \
         anything; `foundry-host run -c foundry.toml` runs it. A file of this name in the state directory is used when no \
         other is named. Relative paths begin at the directory of the file. Times are written 30, 90s, 5m, 12h or 14d, sizes \
         64M or 1G. Other keys of a bot's table are the bot's own options, without the dashes, as \
         `foundry-host help load BOT` lists them.",
    )]);
    let mut table = "";
    for setting in SETTINGS {
        if setting.table != table {
            table = setting.table;
            page.control("SH", [format!("[{table}]").as_str()]);
        }
        page.control("TP", []);
        page.text([bold(setting.key), roman(format!(" = {}", setting.form))]);
        let default = setting.default.unwrap_or(setting.default_note);
        let default = Some(default).filter(|default| !default.is_empty());
        page.text([roman(setting.help.replace('`', ""))]);
        if let Some(default) = default {
            page.text([roman(format!("Default: {}.", default.replace('`', "")))]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("foundry-host-run(1), foundry-host-check(1)")]);
    let mut bytes = Vec::new();
    page.to_writer(&mut bytes)?;
    Ok(bytes)
}
