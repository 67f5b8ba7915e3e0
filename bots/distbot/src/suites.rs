//! What is asked of all suites of a repository, without changing any.

use apt_repository::failure::Failure;
use apt_repository::operate;
use apt_repository::pieces::Sizes;
use apt_repository::settings::Settings;
use apt_repository::suite::Update;

use crate::guest::{Sandbox, SiteTransaction};

/// Ask each suite, also those of which the `Release` is lost, and put the answers together. Of a suite that can't be read, `damaged` gets the name and the reason: what is
/// damaged elsewhere must not keep other suites from being published.
///
/// # Errors
/// [`Failure`] if the suites can't be listed, or one fails otherwise than by what it holds.
pub(crate) fn ask_all<A: IntoIterator>(
    transaction: &SiteTransaction,
    settings: &Settings,
    ask: impl Fn(&Update<'_>) -> Result<A, Failure>,
    mut damaged: impl FnMut(&str, &str),
) -> Result<Vec<A::Item>, Failure> {
    let mut answers = Vec::new();
    for codename in operate::suites_and_remains(transaction)? {
        let suite = Update {
            host: &Sandbox,
            transaction,
            settings,
            // Nothing is signed.
            fingerprint: "",
            codename: &codename,
            sizes: Sizes::default(),
        };
        match ask(&suite) {
            Err(Failure::Repository(why)) => damaged(&codename, &why),
            answer => answers.extend(answer?),
        }
    }
    Ok(answers)
}
