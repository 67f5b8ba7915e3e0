//! Whether signbots sign what watchbots with topics of their own announce: what `check` says of it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{Config, Problem, Severity};
use crate::control::LoadedBots;
use crate::event::{COMMITS, counts};
use crate::supervisor::BotSpec;

/// signbot's option that names the topics of announcements.
const ANNOUNCED_ON: &str = "announced-on";

/// The topic of builds unless told otherwise.
const BUILDS: &str = "builds";

/// A signbot that refuses the builds of what a watchbot announces, by their names, and the topic.
#[derive(Debug, PartialEq, Eq)]
struct Deaf<'b> {
    signbot: &'b str,
    watchbot: &'b str,
    topic: &'b str,
}

/// The signbots that refuse for good what they are there to sign.
pub(super) fn problems(config: &Config, loaded: &LoadedBots) -> Vec<Problem> {
    let mut bots: BTreeMap<_, _> = loaded.all().0.into_iter().collect();
    // The configuration's own go before those that were loaded by hand under their names.
    bots.extend(config.bots.iter().map(|bot| (bot.name.clone(), bot.spec.clone())));
    deaf(&bots)
        .iter()
        .map(|deaf| told(deaf, config, loaded, &bots))
        .collect()
}

fn told(deaf: &Deaf<'_>, config: &Config, loaded: &LoadedBots, bots: &BTreeMap<String, BotSpec>) -> Problem {
    let Deaf {
        signbot,
        watchbot,
        topic,
    } = *deaf;
    let on = bots.get(signbot).map(announced_on).unwrap_or_default();
    let all = Vec::from_iter(on.into_iter().chain([topic]));
    let configured = config.bots.iter().find(|bot| bot.name == signbot);
    let in_file = || config.path.as_deref().unwrap_or(Path::new("foundry.toml")).to_owned();
    Problem {
        severity: Severity::Warning,
        file: configured.map_or_else(|| loaded.file(signbot), |_| in_file()),
        line: configured.map(|bot| bot.line),
        key: format!("bots.{signbot}.{ANNOUNCED_ON}"),
        message: format!(
            "{watchbot} announces commits on {topic}, and {signbot} refuses builds of what is announced there"
        ),
        remedy: match configured {
            Some(_) => format!("write {ANNOUNCED_ON} = {all:?}, unless these builds are not for {signbot}"),
            None => {
                let flags: String = all.iter().map(|topic| format!(" --{ANNOUNCED_ON} {topic}")).collect();
                format!("load {signbot} again with{flags}, unless these builds are not for it")
            }
        },
    }
}

/// For each stock watchbot with a topic of its own the signbots that would refuse its builds. Which builds a signbot gets, the
/// buildbots of this host tell. Where none of them builds the topic's commits, others may for any signbot: then one that takes them
/// is enough.
fn deaf(bots: &BTreeMap<String, BotSpec>) -> Vec<Deaf<'_>> {
    let of = |stock: &'static str| bots.iter().filter(move |(_, spec)| spec.source.stock() == Some(stock));
    let mut found = Vec::new();
    for (watchbot, spec) in of("watchbot") {
        for topic in topics(spec, "publish-to", COMMITS) {
            let builds: Vec<_> = of("buildbot")
                .filter(|(_, spec)| topics(spec, "watch", COMMITS).contains(&topic))
                .flat_map(|(_, spec)| topics(spec, "publish-to", BUILDS))
                .collect();
            let is_taken = of("signbot").any(|(_, spec)| takes(spec, topic));
            let gets = |spec| topics(spec, "watch", BUILDS).iter().any(|topic| builds.contains(topic));
            let is_deaf = |spec| !takes(spec, topic) && if builds.is_empty() { !is_taken } else { gets(spec) };
            let deaf = of("signbot").filter(|(_, spec)| is_deaf(spec));
            found.extend(deaf.map(|(signbot, _)| Deaf {
                signbot,
                watchbot,
                topic,
            }));
        }
    }
    found
}

fn takes(signbot: &BotSpec, topic: &str) -> bool {
    let on: Vec<_> = announced_on(signbot).into_iter().map(ToOwned::to_owned).collect();
    counts(topic, &on).is_ok()
}

fn announced_on(signbot: &BotSpec) -> Vec<&str> {
    topics(signbot, ANNOUNCED_ON, COMMITS)
}

/// The topics that an option names, or else its default.
fn topics<'b>(spec: &'b BotSpec, option: &str, default: &'static str) -> Vec<&'b str> {
    let named = spec.options.get(option).filter(|topics| !topics.is_empty());
    named.map_or_else(|| vec![default], |topics| topics.iter().map(String::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bots: &str) -> Vec<Problem> {
        let config = Config::parse(Path::new("foundry.toml"), bots).unwrap();
        let state = tempfile::tempdir().unwrap();
        problems(&config, &LoadedBots::of(state.path()))
    }

    const WATCH: &str =
        "[bots.watch]\nuse = \"watchbot\"\npublish-to = \"commits-2\"\nrepository = [\"https://example.org/a.git\"]\n";
    const SIGN: &str = "[bots.sign]\nuse = \"signbot\"\ngpg-key = \"a\"\n";
    const BUILD: &str = "[bots.build]\nuse = \"buildbot\"\n";

    #[test]
    fn a_signbot_that_refuses_what_a_watchbot_announces_is_told_of_with_the_option() {
        let built = format!("{BUILD}watch = \"commits-2\"\n");
        for bots in [format!("{WATCH}{SIGN}"), format!("{WATCH}{SIGN}{built}")] {
            let told = told(&bots);
            assert!(
                told.len() == 1 && told[0].key == "bots.sign.announced-on" && told[0].line.is_some(),
                "{told:?}"
            );
            let remedy = &told[0].remedy;
            assert!(
                remedy.contains(r#"announced-on = ["commits", "commits-2"]"#),
                "{remedy}"
            );
        }
    }

    #[test]
    fn a_signbot_that_takes_the_topic_or_gets_other_builds_is_not_told_of() {
        let takes = format!("{SIGN}announced-on = [\"commits-2\"]\n");
        let tests =
            "[bots.tests]\nuse = \"signbot\"\ngpg-key = \"a\"\nwatch = \"builds-2\"\nannounced-on = [\"commits-2\"]\n";
        let built = format!("{BUILD}watch = \"commits-2\"\npublish-to = \"builds-2\"\n");
        for bots in [
            format!("{WATCH}{takes}"),
            format!("{WATCH}{SIGN}{tests}"),
            format!("{WATCH}{SIGN}{built}"),
            format!("{WATCH}{SIGN}{tests}{built}"),
            WATCH.replace("commits-2", "commits") + SIGN,
        ] {
            let told = told(&bots);
            assert!(told.is_empty(), "{bots}: {told:?}");
        }
    }

    #[test]
    fn only_the_signbot_that_gets_the_builds_is_told_of() {
        let taker =
            "[bots.taker]\nuse = \"signbot\"\ngpg-key = \"a\"\nwatch = \"builds-2\"\nannounced-on = [\"commits-2\"]\n";
        let told = told(&format!("{WATCH}{SIGN}{taker}{BUILD}watch = \"commits-2\"\n"));
        assert!(told.len() == 1 && told[0].key == "bots.sign.announced-on", "{told:?}");
    }
}
