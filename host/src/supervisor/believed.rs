//! distbots that believe more packages keys than they need: without `--packages-key` one believes each that counts on its host,
//! also the one that is for another repository.

use std::collections::{BTreeMap, BTreeSet};

use super::bot::RunningBot;
use super::host::Inner;
use crate::keys::{KeyStore, Role};

/// distbot's option that names the keys that it believes.
const PACKAGES_KEY: &str = "packages-key";

/// A loaded bot, or one that is going to be, as far as keys of packages go.
#[derive(Debug, Clone)]
pub struct Party {
    /// Its name on this host.
    pub name: String,
    /// The stock bot that it is.
    pub stock: String,
    /// Its options' values.
    pub options: BTreeMap<String, Vec<String>>,
}

/// A distbot that believes more than it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credulous {
    /// Its name on this host.
    pub bot: String,
    /// What it does.
    pub what: String,
    /// What limits it.
    pub remedy: String,
}

impl Party {
    /// A bot, if it is one that matters here.
    #[must_use]
    pub fn of(name: &str, stock: Option<&str>, options: &BTreeMap<String, Vec<String>>) -> Option<Self> {
        let stock = stock.filter(|stock| matches!(*stock, "signbot" | "distbot"))?;
        Some(Self {
            name: name.to_owned(),
            stock: stock.to_owned(),
            options: options.clone(),
        })
    }

    fn values<'a>(&'a self, option: &str) -> impl Iterator<Item = &'a str> {
        self.options.get(option).into_iter().flatten().map(String::as_str)
    }
}

/// The distbots that name no packages key, where several count and either several repositories are published or several keys
/// sign. One signbot and one distbot alone need to name none while a new key takes the place of an old one. Asks gpg.
#[must_use]
pub fn credulous(parties: &[Party], store: &KeyStore) -> Vec<Credulous> {
    let of = |stock: &'static str| parties.iter().filter(move |party| party.stock == stock);
    let signing: BTreeSet<_> = of("signbot")
        .flat_map(|party| party.values("gpg-key"))
        .map(|key| shown(key, store))
        .collect();
    let stored = store.list().unwrap_or_default().into_iter();
    let stored = stored
        .filter(|key| key.roles.contains(&Role::Packages))
        .map(|key| key.to_string());
    let counting: BTreeSet<_> = stored.chain(signing.iter().cloned()).collect();
    let archives: BTreeSet<_> = of("distbot").flat_map(|party| party.values("output")).collect();
    if counting.len() < 2 || (archives.len() < 2 && signing.len() < 2) {
        return Vec::new();
    }
    let keys = Vec::from_iter(counting).join(", ");
    let open = of("distbot").filter(|party| party.values(PACKAGES_KEY).next().is_none());
    open.map(|party| Credulous {
        bot: party.name.clone(),
        what: format!(
            "{} publishes what any of this host's packages keys states to have signed, whichever repository that is for: {keys}",
            party.name
        ),
        remedy: format!("name the key of the packages that {} is for with --{PACKAGES_KEY} KEY", party.name),
    })
    .collect()
}

/// A key as a person knows it; as it is named, if it can't be found.
fn shown(key: &str, store: &KeyStore) -> String {
    store
        .find_any(key)
        .map_or_else(|_| key.to_owned(), |found| found.to_string())
}

impl Inner {
    /// What to say when a bot is loaded with which distbots come to believe more than they need.
    pub(super) async fn notes_on_keys(&self, party: Option<Party>) -> Vec<String> {
        let Some(party) = party else {
            return Vec::new();
        };
        let others = self.parties_but(&party.name);
        let keys = self.services.keys.clone();
        let told = tokio::task::spawn_blocking(move || {
            let before = credulous(&others, &keys);
            let parties: Vec<_> = others.into_iter().chain([party]).collect();
            let after = credulous(&parties, &keys).into_iter();
            let new = after.filter(|one| !before.iter().any(|known| known.bot == one.bot));
            new.map(|Credulous { what, remedy, .. }| format!("{what} ({remedy})"))
                .collect()
        });
        told.await.unwrap_or_default()
    }

    fn parties_but(&self, name: &str) -> Vec<Party> {
        let parties = self.bots.all(RunningBot::party);
        parties
            .into_iter()
            .flatten()
            .filter(|party| party.name != name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::NewKey;

    fn party(name: &str, stock: &str, options: &[(&str, &str)]) -> Party {
        let options = options.iter();
        let options = options.map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        Party::of(name, Some(stock), &options.collect()).unwrap()
    }

    #[test]
    fn a_distbot_that_names_no_key_is_told_of_where_several_count_for_several_repositories() {
        let directory = tempfile::tempdir().unwrap();
        let store = KeyStore::open(directory.path().join("keys")).unwrap();
        let store = store.with_gnupg_home(directory.path().join("gnupg"));
        let told = |parties: &[&Party]| {
            let parties: Vec<_> = parties.iter().copied().cloned().collect();
            let told = credulous(&parties, &store).into_iter();
            told.map(|one| one.bot).collect::<Vec<_>>()
        };
        let signbots = ["one", "two"].map(|name| party(name, "signbot", &[("gpg-key", name)]));
        let distbots = ["a", "b"].map(|name| party(name, "distbot", &[("output", name)]));
        let named = party("b", "distbot", &[("output", "b"), ("packages-key", "two")]);
        store.generate(Role::Packages, &NewKey::new("one")).unwrap();
        let none: [&str; 0] = [];
        assert_eq!(
            told(&[&signbots[0], &distbots[0], &distbots[1]]),
            none,
            "one key is all there is"
        );
        store.generate(Role::Packages, &NewKey::new("two")).unwrap();
        assert_eq!(
            told(&[&signbots[0], &distbots[0]]),
            none,
            "one key takes the place of the other"
        );
        assert_eq!(told(&[&signbots[0], &signbots[1], &distbots[0]]), ["a"]);
        assert_eq!(told(&[&distbots[0], &distbots[1]]), ["a", "b"]);
        assert_eq!(told(&[&signbots[0], &signbots[1], &distbots[0], &named]), ["a"]);
        // A key of the ring, or one that can't be found now, counts as well.
        let ring = party("three", "signbot", &[("gpg-key", "three")]);
        let said = credulous(&[ring, signbots[0].clone(), distbots[0].clone()], &store).remove(0);
        assert!(
            said.what.contains("three") && said.remedy.contains("--packages-key KEY"),
            "{said:?}"
        );
    }
}
