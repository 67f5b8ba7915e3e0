//! `runs` without a run: the newest ones.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use crate::cli::common::Context;
use crate::cli::error::CliError;
use crate::cli::output::age;
use crate::cli::surprised;
use crate::control::{Answer, MAX_RUNS, Request, ShownRun};
use crate::run::{Chain, RunState};

/// Print the newest runs, one a line.
///
/// # Errors
/// [`CliError`] if the host does not answer or the output can't be written.
pub(super) async fn newest(limit: u32, context: &mut Context) -> Result<(), CliError> {
    // One more than is shown tells whether there are more.
    let mut runs = some(limit.saturating_add(1), context).await?;
    let more = runs.len() > limit as usize;
    runs.truncate(limit as usize);
    if context.common.json {
        context.out.json(&runs)?;
    } else {
        table(&runs, context)?;
    }
    if more {
        let next = limit.saturating_mul(5);
        context.note(format_args!("there are more runs (-n {next} shows the newest {next})"));
    }
    Ok(())
}

/// The newest runs, however many are wanted: a host answers with a part of them at a time.
async fn some(wanted: u32, context: &Context) -> Result<Vec<ShownRun>, CliError> {
    let mut runs: Vec<ShownRun> = Vec::new();
    let mut left = wanted;
    while left > 0 {
        let limit = left.min(MAX_RUNS);
        let after = runs.last().map(|run| run.id.clone());
        let Answer::Runs(page) = context.client().ask(Request::Runs { limit, after }).await? else {
            return Err(surprised());
        };
        let is_last = page.len() < limit as usize;
        runs.extend(page);
        if is_last {
            break;
        }
        left -= limit;
    }
    Ok(runs)
}

fn table(runs: &[ShownRun], context: &mut Context) -> Result<(), CliError> {
    let now = OffsetDateTime::now_utc();
    let titles = [
        "RUN",
        "STATUS",
        "REPOSITORY",
        "BRANCH",
        "COMMIT",
        "AGE",
        "CHAINS",
        "SUBJECT",
    ];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let commit = or_dash(&run.commit).chars().take(10).collect();
            vec![
                run.id.clone(),
                run.state.status.name().to_owned(),
                or_dash(&run.repository),
                or_dash(&run.branch),
                commit,
                age(now, &run.started),
                differing(&run.state),
                or_dash(&run.subject),
            ]
        })
        .collect();
    context.out.table(&titles, &rows)?;
    let mut topics = BTreeSet::new();
    for unread in runs.iter().filter_map(|run| run.unread.as_ref()) {
        // The newest run of each topic is kept the longest.
        if topics.insert(&unread.topic) {
            context.note(unread);
        }
    }
    Ok(())
}

/// The states of a run's chains, if not all of them are the run's.
fn differing(state: &RunState) -> String {
    let is_same = |chain: &Chain| chain.status.name() == state.status.name();
    if state.chains.iter().all(is_same) {
        return "-".to_owned();
    }
    let labels = state.labels();
    let chains = labels.iter().zip(&state.chains);
    let each: Vec<_> = chains
        .map(|(label, chain)| format!("{label} {}", chain.status.name()))
        .collect();
    each.join(", ")
}
