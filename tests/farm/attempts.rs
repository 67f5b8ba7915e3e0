//! What the thief of a builder tries: a table.

use foundry_host::event::{Event, Origin, Place};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::loot::Loot;
use crate::support::{changed, event, signer};
use crate::thief::Thief;

/// How it is tried.
pub enum Way {
    /// A message on a topic, without the installation's prefix.
    Publish(String, Vec<u8>),
    /// The same, to stay at the broker.
    Retain(String, Vec<u8>),
    /// A subscription.
    Subscribe(&'static str),
    /// A session under a client identifier.
    Connect(&'static str),
    /// A session that leaves a will on a topic, without the installation's prefix.
    Will(&'static str),
}

/// What has to come of it.
pub enum End {
    /// The broker does not allow it.
    Denied,
    /// The broker takes it, since a builder may say such things there; signbot refuses it, with these words.
    Refused(&'static str),
    /// It is a lie that he can tell, and signbot signs it; distbot refuses it, with these words.
    Unpublished(&'static str),
    /// The broker takes it, and nobody believes it or has any use for it.
    Nothing,
}

/// Something that the thief tries.
pub struct Attempt {
    pub what: &'static str,
    pub way: Way,
    pub end: End,
}

/// The number of a message: its id derives from that, and it is in the message.
pub fn id(number: usize) -> String {
    format!("thief-{number:03}")
}

/// A list of attempts in the making.
struct Attempts<'a> {
    thief: &'a Thief<'a>,
    loot: &'a Loot,
    list: Vec<Attempt>,
}

/// All that he tries. Each message has the id of its place in the list.
pub fn all(thief: &Thief<'_>, loot: &Loot, builder: &str) -> Vec<Attempt> {
    let list = Vec::new();
    let mut attempts = Attempts { thief, loot, list };
    attempts.topics_of_others();
    attempts.sessions_and_groups_of_others();
    attempts.builds_of_nothing();
    attempts.others_names(builder);
    attempts.repetitions();
    attempts.wrong_times();
    attempts.no_events();
    attempts.failures_and_answers(builder);
    attempts.what_he_was_given();
    attempts.list
}

impl Attempts<'_> {
    fn add(&mut self, what: &'static str, way: Way, end: End) {
        self.list.push(Attempt { what, way, end });
    }

    /// An event of the announced commit's run, with his packages and the commit's announcement in it.
    fn says(&self, topic: &str, kind: &str, change: impl FnOnce(&mut Event)) -> Vec<u8> {
        let change = |event: &mut Event| {
            self.loot.in_its_run(event);
            change(event);
        };
        self.thief
            .says(topic, &id(self.list.len()), kind, self.loot.data(), change)
    }

    /// A build, which signbot refuses.
    fn build(&mut self, what: &'static str, why: &'static str, change: impl FnOnce(&mut Event)) {
        let payload = self.says("builds", "foundry.build.v1", change);
        self.add(what, Way::Publish("builds".to_owned(), payload), End::Refused(why));
    }

    fn topics_of_others(&mut self) {
        for (what, topic, kind) in [
            ("announces a commit", "commits", "foundry.commit.v1"),
            ("tells of a signature", "signs", "foundry.sign.v1"),
            ("tells of a publication", "dists", "foundry.dist.v1"),
            ("tells the head what to do", "control", "foundry.control.v1"),
            ("signs on a topic of his own", "signs-2", "foundry.sign.v1"),
            ("builds below the topic of builds", "builds/x", "foundry.build.v1"),
            ("writes into the head's log", "logs/head/r1/sign", "foundry.build.v1"),
            (
                "writes into the honest builder's log",
                "logs/builder/r1/build",
                "foundry.build.v1",
            ),
        ] {
            let payload = self.says(topic, kind, |_| ());
            self.add(what, Way::Publish(topic.to_owned(), payload), End::Denied);
        }
        let announcement = self.says("commits", "foundry.commit.v1", |_| ());
        let stays = Way::Retain("commits".to_owned(), announcement);
        self.add("leaves an announcement for those who come later", stays, End::Denied);
        for topic in ["hosts/head", "hosts/builder", "bots/head/sign", "bots/builder/build"] {
            let leave = Way::Retain(topic.to_owned(), Vec::new());
            self.add("takes another host's leave", leave, End::Denied);
            let come = Way::Retain(topic.to_owned(), br#"{"status":"online"}"#.to_vec());
            self.add("presents another host", come, End::Denied);
        }
    }

    fn sessions_and_groups_of_others(&mut self) {
        for client in [
            "foundry/head/sign",
            "foundry/head//publisher",
            "foundry/builder/build",
            "foundry/builder//peers",
        ] {
            self.add("takes another host's session", Way::Connect(client), End::Denied);
        }
        for topic in ["commits", "signs", "hosts/head"] {
            self.add("has the broker say it when he is gone", Way::Will(topic), End::Denied);
        }
        for filter in ["foundry/peers/head", "foundry/peers/+", "foundry/#", "#", "$dead/#"] {
            let listen = Way::Subscribe(filter);
            self.add("hears what is said to others", listen, End::Denied);
        }
        for filter in [
            "$share/pub%2Fsignbot/foundry/builds",
            "$share/pub%2Fdistbot/foundry/signs",
            "$share/mine/foundry/+",
        ] {
            self.add("takes work away from the head", Way::Subscribe(filter), End::Denied);
        }
    }

    fn builds_of_nothing(&mut self) {
        self.build("builds what nobody announced", "it carries no announcement", |event| {
            event.announcement = None;
        });
        self.build("builds a commit that he made up", "is of the run", |event| {
            event.cause = Some("0123456789abcdef0123456789abcdef".to_owned());
            event.run = "made-up".to_owned();
        });
        self.build(
            "builds another commit than the announced one",
            "and the announcement is of",
            |event| {
                event.data.insert("ref".to_owned(), json!("f".repeat(40)));
            },
        );
        self.build("builds for another branch", "and the announcement is of", |event| {
            event.data.insert("branch".to_owned(), json!("main"));
        });
        self.build("builds for another repository", "and the announcement is of", |event| {
            event
                .data
                .insert("repository".to_owned(), json!("https://example.org/sudo.git"));
        });
        self.build(
            "builds an announced commit in a run of his own",
            "is of the run",
            |event| {
                event.run = "my-own".to_owned();
            },
        );
        let payload = self.says("builds", "foundry.build.v1", |event| event.announcement = None);
        let stays = Way::Retain("builds".to_owned(), payload);
        let end = End::Refused("it carries no announcement");
        self.add("leaves a build for those who come later", stays, end);
    }

    fn others_names(&mut self, builder: &str) {
        let source = format!("{builder}/build");
        self.build("builds in the honest builder's name", "says that it is of", |event| {
            event.source = source
        });
        self.build("builds in the head's name", "says that it is of head/build", |event| {
            event.source = "head/build".to_owned();
        });
        for (what, kind, why) in [
            (
                "signs among the builds",
                "foundry.sign.v1",
                "no foundry.sign.v1 on builds",
            ),
            (
                "announces among the builds",
                "foundry.commit.v1",
                "no foundry.commit.v1 on builds",
            ),
            (
                "publishes among the builds",
                "foundry.dist.v1",
                "no foundry.dist.v1 on builds",
            ),
        ] {
            // A commit that carries another announcement is no event.
            let payload = self.says("builds", kind, |event| event.announcement = None);
            self.add(what, Way::Publish("builds".to_owned(), payload), End::Refused(why));
        }
        let nobody = tempfile::tempdir().unwrap();
        let stranger = changed(
            event("builds", &id(self.list.len()), "foundry.build.v1", self.loot.data()),
            |event| {
                self.loot.in_its_run(event);
                event.source = source_of(builder);
            },
        );
        let payload = stranger.sign(&signer(nobody.path())).unwrap();
        let end = End::Refused("is not among the messages keys here");
        self.add(
            "builds with a key that nobody knows",
            Way::Publish("builds".to_owned(), payload),
            end,
        );
    }

    fn repetitions(&mut self) {
        let on = |topic: &str, text: &str| Way::Publish(topic.to_owned(), text.as_bytes().to_vec());
        let (build, sign, commit) = (
            self.loot.build.clone(),
            self.loot.sign.clone(),
            self.loot.commit.to_string(),
        );
        self.add("repeats a signature", on("signs", &sign), End::Denied);
        self.add("repeats a commit", on("commits", &commit), End::Denied);
        let end = End::Refused("it was published to foundry/signs and came on foundry/builds");
        self.add("repeats a signature as a build", on("builds", &sign), end);
        let end = End::Refused("it was published to foundry/commits and came on foundry/builds");
        self.add("repeats a commit as a build", on("builds", &commit), end);
        self.add("repeats the honest build", on("builds", &build), End::Nothing);
        self.add(
            "repeats the honest build as a failure",
            on("failures", &build),
            End::Nothing,
        );
        let same_id = self.loot.of_build("id");
        let why = "type, topic, run, cause and work make another one";
        self.build("builds something else under the honest build's id", why, |event| {
            event.id = same_id;
        });
    }

    fn wrong_times(&mut self) {
        let now = OffsetDateTime::now_utc();
        let (old, early) = (now - Duration::days(15), now + Duration::days(1));
        self.build("builds what was built long ago", "events are refused after", |event| {
            event.time = old.format(&Rfc3339).unwrap();
        });
        self.build(
            "builds what will be built tomorrow",
            "tried again when its time has come",
            |event| {
                event.time = early.format(&Rfc3339).unwrap();
            },
        );
    }

    fn no_events(&mut self) {
        let on_builds = |payload: Vec<u8>| Way::Publish("builds".to_owned(), payload);
        let garbage = format!("{{ {}", id(self.list.len())).into_bytes();
        self.add("sends no event", on_builds(garbage), End::Refused("it is not an event"));
        let unsigned = json!({ "id": id(self.list.len()), "data": {} }).to_string();
        let end = End::Refused("there is no signature");
        self.add("signs nothing", on_builds(unsigned.into_bytes()), end);
        let number = id(self.list.len());
        let altered = self.loot.build.replacen("\"id\":\"", &format!("\"id\":\"{number}"), 1);
        let end = End::Refused("one of them was altered");
        self.add("alters the honest build", on_builds(altered.into_bytes()), end);
        let large = id(self.list.len()).repeat(60_000).into_bytes();
        self.add(
            "sends more than an event may have",
            on_builds(large),
            End::Refused("more than an event may have"),
        );
        self.build(
            "builds nothing in particular",
            "the data does not fit foundry.build.v1",
            |event| {
                event.data.clear();
            },
        );
    }

    fn failures_and_answers(&mut self, builder: &str) {
        for (what, stage, source) in [
            ("says that the signature failed", "sign", None),
            ("says that the publication failed", "distbot", None),
            ("says that the honest builder failed", "build", Some(source_of(builder))),
        ] {
            let payload = self.failure(stage, source);
            self.add(what, Way::Publish("failures".to_owned(), payload), End::Nothing);
        }
        let answer = self.says("peers/head", "foundry.peer-answer.v1", |event| {
            event.source = format!("{builder}/peers");
            event.data = object(json!({ "settled": true }));
        });
        let to_the_head = Way::Publish("peers/head".to_owned(), answer);
        self.add("answers the head for the honest builder", to_the_head, End::Nothing);
        let payload = self.failure("build", None);
        let way = Way::Publish("failures".to_owned(), payload);
        self.add("says that he himself failed", way, End::Nothing);
    }

    /// Here nothing is wrong but what is built: that all else was refused for the reason that is named, this shows.
    fn what_he_was_given(&mut self) {
        let payload = self.says("builds", "foundry.build.v1", |_| ());
        let end = End::Unpublished("the binary package sudo has Essential: yes");
        self.add(
            "builds what nobody wants of a commit that he was given",
            Way::Publish("builds".to_owned(), payload),
            end,
        );
    }

    fn failure(&self, stage: &str, source: Option<String>) -> Vec<u8> {
        let commit = &self.loot.commit["data"];
        let data = json!({
            "repository": commit["repository"], "branch": commit["branch"], "ref": commit["ref"],
            "stage": stage, "reason": format!("so he says of {stage}"),
        });
        let origin = Origin::Message {
            group: "pub/buildbot".to_owned(),
            input: self.loot.commit["id"].as_str().unwrap().to_owned(),
            attempt: 0,
            place: Place::Key(id(self.list.len())),
        };
        self.says("failures", "foundry.failure.v1", |event| {
            event.id = origin.id(&["foundry.failure.v1", "failures"]);
            event.derivation = origin.into();
            event.data = object(data);
            if let Some(source) = source {
                event.source = source;
            }
        })
    }
}

fn source_of(host: &str) -> String {
    format!("{host}/build")
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    serde_json::from_value(value).unwrap()
}
