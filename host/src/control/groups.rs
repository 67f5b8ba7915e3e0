//! What the command line asks about the embedded broker's groups.

use foundry_broker::{BacklogStatus, GroupStatus, Operator};

use super::protocol::{Answer, Failure, FailureKind};
use crate::supervisor::Host;

/// Dead letters that are shown of a group.
const SHOWN: usize = 100;

fn operator(host: &Host) -> Result<Operator, Failure> {
    host.operator().ok_or_else(|| {
        let message = "the groups are in another broker (`broker.url`), which has its own tools to look at them";
        Failure::new(FailureKind::Refused, message)
    })
}

fn missing(filter: &str) -> Failure {
    let message = format!("there is no group {filter} (see `foundry-host groups list`)");
    Failure::new(FailureKind::NotFound, message)
}

pub(super) async fn all(host: &Host) -> Result<Answer, Failure> {
    let operator = operator(host)?;
    Ok(Answer::Groups {
        groups: operator.groups().await,
        backlog: operator.backlog().await,
    })
}

async fn find(operator: &Operator, filter: &str) -> Result<GroupStatus, Failure> {
    let groups = operator.groups().await;
    let found = groups
        .into_iter()
        .find(|group| format!("$share/{}/{}", group.name, group.filter) == filter);
    found.ok_or_else(|| missing(filter))
}

pub(super) async fn one(host: &Host, filter: &str) -> Result<Answer, Failure> {
    let operator = operator(host)?;
    let group = find(&operator, filter).await?;
    let dead_letters = operator.dead_letters(filter, SHOWN).await;
    Ok(Answer::Group { group, dead_letters })
}

pub(super) async fn remove(host: &Host, filter: &str) -> Result<Answer, Failure> {
    match operator(host)?.remove_group(filter).await {
        true => Ok(Answer::Done),
        false => Err(missing(filter)),
    }
}

/// What is kept for groups that are created later; nothing if it is another broker that would know.
pub(super) async fn backlog(host: &Host) -> BacklogStatus {
    match host.operator() {
        Some(operator) => operator.backlog().await,
        None => BacklogStatus::default(),
    }
}
