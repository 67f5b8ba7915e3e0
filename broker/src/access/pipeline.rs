//! The roles of a farm: what a host that only builds needs, and what an operator's programs need.

use super::Role;

/// A host with nothing but buildbots, whose user name is the host's name. It can tell nobody that something was announced,
/// signed or published, and cannot speak on other hosts' topics. Topics are full ones, below the installation's prefix.
pub(super) fn builder(prefix: &str) -> Role {
    let below = |topics: &[&str]| topics.iter().map(|topic| format!("{prefix}/{topic}")).collect();
    // Everybody's events and presence, for `runs` and `list`; questions to itself alone.
    let mut subscribe: Vec<String> = below(&[
        "commits", "builds", "signs", "dists", "failures", "control", "jobs", "logs/#", "hosts/+", "bots/+/+",
        "peers/%u",
    ]);
    // Hosts look whether their broker says what it dropped.
    subscribe.push("$SYS/#".to_owned());
    Role {
        publish: below(&[
            "builds",
            "failures",
            "jobs",
            "logs/%u/#",
            "hosts/%u",
            "bots/%u/+",
            "peers/+",
        ]),
        subscribe,
        share: below(&["commits", "jobs"]),
        host: true,
        ..Role::default()
    }
}

/// A program that asks for work and looks on: a web page, a script. It takes nothing away from the bots.
pub(super) fn operator(prefix: &str) -> Role {
    Role {
        publish: ["control", "jobs"].map(|topic| format!("{prefix}/{topic}")).into(),
        subscribe: vec!["#".to_owned(), "$dead/#".to_owned()],
        ..Role::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Permissions;
    use super::*;
    use crate::topic::{TopicFilter, TopicName};

    fn publishes(role: &Role, topic: &str) -> bool {
        Permissions::new(role, Some("b1"), "c").may_publish(&TopicName::new(topic).unwrap())
    }

    #[test]
    fn a_builder_tells_of_builds_and_speaks_for_itself_alone() {
        for prefix in ["foundry", "site/two"] {
            let role = builder(prefix);
            for topic in [
                "builds",
                "failures",
                "logs/b1/r1/build",
                "hosts/b1",
                "bots/b1/build",
                "peers/head",
                "jobs",
            ] {
                assert!(publishes(&role, &format!("{prefix}/{topic}")), "{topic}");
                assert!(!publishes(&role, &format!("other/{topic}")), "{topic}");
                assert!(!publishes(&role, topic), "{topic}");
            }
            for topic in [
                "commits",
                "signs",
                "dists",
                "control",
                "hosts/b2",
                "hosts/head",
                "bots/b2/build",
                "bots/b1",
                "logs/b2/r1/build",
                "logs/r1/build",
                "builds-2",
                "builds/x",
            ] {
                assert!(!publishes(&role, &format!("{prefix}/{topic}")), "{topic}");
            }
        }
    }

    #[test]
    fn a_builder_takes_commits_and_nothing_else_away_from_others() {
        let permissions = Permissions::new(&builder("foundry"), Some("b1"), "c");
        let filter = |topic: &str| TopicFilter::new(&format!("foundry/{topic}")).unwrap();
        for topic in ["commits", "jobs"] {
            assert!(permissions.may_share(&filter(topic)), "{topic}");
        }
        for topic in [
            "builds",
            "signs",
            "dists",
            "failures",
            "peers/head",
            "peers/b1",
            "+",
            "#",
        ] {
            assert!(!permissions.may_share(&filter(topic)), "{topic}");
        }
        for topic in ["commits", "dists", "failures", "bots/+/+", "peers/b1"] {
            assert!(permissions.may_subscribe(&filter(topic)), "{topic}");
        }
        for topic in ["peers/head", "peers/+", "#"] {
            assert!(!permissions.may_subscribe(&filter(topic)), "{topic}");
        }
    }

    #[test]
    fn an_operator_asks_and_looks_on() {
        let role = operator("foundry");
        assert!(publishes(&role, "foundry/control") && publishes(&role, "foundry/jobs"));
        assert!(!publishes(&role, "foundry/builds") && !publishes(&role, "control"));
        let permissions = Permissions::new(&role, None, "c");
        assert!(permissions.may_subscribe(&TopicFilter::new("foundry/#").unwrap()));
        assert!(!permissions.may_share(&TopicFilter::new("foundry/commits").unwrap()));
    }
}
