//! `dead-letters`: messages that were given up.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output::{age, printable};
use crate::control::{Answer, MAX_LETTERS, Request};
use crate::event::Cure;
use crate::ledger::{DeadLetter, LetterNumber};

/// What to do with them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A number that begins with g is of a group of the embedded broker, no member of which would take
the message; they are listed after those of this host. A requeued message goes where it was going:
to its bot on this host, to its group, or to the broker.

Examples:
  foundry-host dead-letters list
  foundry-host dead-letters list --limit 20 --after 12 --json
  foundry-host dead-letters show 12
  foundry-host dead-letters requeue 12 g7
  foundry-host dead-letters requeue --of buildbot
  foundry-host dead-letters drop 12"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show them, oldest first
    List(ListArgs),
    /// Show one, with the message as it came
    Show {
        /// Its number
        number: LetterNumber,
    },
    /// Forget some
    Drop {
        #[command(flatten)]
        which: Which,
    },
    /// Try some again
    Requeue {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LETTERS)))]
    limit: u32,
    /// Those that are listed after this one
    #[arg(long, value_name = "LETTER")]
    after: Option<LetterNumber>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Their numbers
    numbers: Vec<LetterNumber>,
    /// All of a bot, or of a group
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
}

/// Show, requeue or drop dead letters.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    match args.what {
        What::List(args) => list(&args, context).await,
        What::Show { number } => show(number, context).await,
        What::Drop { which } => {
            for number in numbers(which, context).await? {
                context.client().ask(Request::DropDeadLetter { number }).await?;
                context.note(format_args!("dropped {number}"));
            }
            Ok(())
        }
        What::Requeue { which } => {
            for number in numbers(which, context).await? {
                context.client().ask(Request::RequeueDeadLetter { number }).await?;
                context.note(format_args!("requeued {number}"));
            }
            Ok(())
        }
    }
}

async fn numbers(which: Which, context: &Context) -> Result<Vec<LetterNumber>, CliError> {
    let Some(name) = which.of else {
        return Ok(which.numbers);
    };
    let mut numbers: Vec<LetterNumber> = Vec::new();
    loop {
        let (letters, more) = page(MAX_LETTERS, numbers.last().copied(), Some(&name), context).await?;
        numbers.extend(letters.iter().map(DeadLetter::number));
        if !more {
            break;
        }
    }
    if numbers.is_empty() {
        let message = format!("there are no dead letters of {name} (see `foundry-host dead-letters list`)");
        return Err(CliError::Said(Exit::NotFound, message));
    }
    Ok(numbers)
}

/// Some dead letters without payloads, and whether there are more.
async fn page(
    limit: u32,
    after: Option<LetterNumber>,
    of: Option<&str>,
    context: &Context,
) -> Result<(Vec<DeadLetter>, bool), CliError> {
    let of = of.map(ToOwned::to_owned);
    match context.client().ask(Request::DeadLetters { limit, after, of }).await? {
        Answer::DeadLetters { letters, more } => Ok((letters, more)),
        _ => Err(super::surprised()),
    }
}

async fn list(args: &ListArgs, context: &mut Context) -> Result<(), CliError> {
    let (letters, more) = page(args.limit, args.after, None, context).await?;
    if let Some(last) = letters.last().filter(|_| more) {
        let number = last.number();
        context.note(format_args!(
            "there are more (`foundry-host dead-letters list --after {number}` shows the next)"
        ));
    }
    if context.common.json {
        return context.out.json(&letters);
    }
    let now = OffsetDateTime::now_utc();
    let rows: Vec<_> = letters
        .iter()
        .map(|letter| {
            vec![
                letter.number().to_string(),
                letter.kind.name().to_owned(),
                letter.bot.clone(),
                letter.topic.clone(),
                letter.attempts.to_string(),
                age(now, &letter.at),
                if letter.requeued {
                    format!("requeued; was: {}", letter.reason)
                } else {
                    letter.reason.clone()
                },
            ]
        })
        .collect();
    context
        .out
        .table(&["NUMBER", "KIND", "BOT", "TOPIC", "ATTEMPTS", "AGE", "REASON"], &rows)
}

async fn show(number: LetterNumber, context: &mut Context) -> Result<(), CliError> {
    let Answer::DeadLetter(letter) = context.client().ask(Request::DeadLetter { number }).await? else {
        return Err(super::surprised());
    };
    if context.common.json {
        return context.out.json(&letter);
    }
    context.out.line(format_args!("number      {}", letter.number()))?;
    context.out.line(format_args!("kind        {}", letter.kind.name()))?;
    context.out.line(format_args!("at          {}", letter.at))?;
    context
        .out
        .line(format_args!("bot         {}", printable(&letter.bot)))?;
    context
        .out
        .line(format_args!("topic       {}", printable(&letter.topic)))?;
    context.out.line(format_args!(
        "id          {}",
        printable(letter.id.as_deref().unwrap_or("-"))
    ))?;
    context.out.line(format_args!("attempts    {}", letter.attempts))?;
    context
        .out
        .line(format_args!("reason      {}", printable(&letter.reason)))?;
    let retried = match letter.cure {
        None => None,
        Some(Cure::Trust) => Some("when the trusted keys change".to_owned()),
        Some(Cure::Packages) => Some("when the packages keys change".to_owned()),
        Some(Cure::At(at)) => Some(at.format(&Rfc3339).unwrap_or_default()),
    };
    if let Some(retried) = retried {
        context.out.line(format_args!("retried     {retried}"))?;
    }
    let text = String::from_utf8_lossy(&letter.payload);
    let pretty = serde_json::from_str::<serde_json::Value>(&text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| text.into_owned());
    for line in pretty.lines() {
        context.out.line(printable(line))?;
    }
    Ok(())
}
