//! A bot's request against its operator's grants.

use std::collections::{BTreeMap, BTreeSet};

use super::outlets::{Failures, Outlet, Outlets, Types};
use crate::capability::{Grants, MissingGrant};
use crate::event::{FAILURES, of_stage};

/// What each stock bot's events are.
const STOCK_TYPES: [(&str, &str); 4] = [
    ("watchbot", "foundry.commit.v1"),
    ("buildbot", "foundry.build.v1"),
    ("signbot", "foundry.sign.v1"),
    ("distbot", "foundry.dist.v1"),
];

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// A stock bot, by its name in the program: its options are its operator's words, and its topics are granted with them.
    Stock(&'a str),
    /// A bot from a file.
    File {
        /// The name that its operator loads it under, whose namespace it has.
        name: &'a str,
        /// What its component calls itself.
        component: &'a str,
    },
}

/// What a bot's description and options come to.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Group and topic (without prefix) of each input.
    pub inputs: &'a [(String, String)],
    /// Whether the operator named the group: no other one will do then.
    pub endpoint_chosen: bool,
    /// Topics (without prefix) by the names that the bot uses for them.
    pub outputs: &'a BTreeMap<String, String>,
}

/// Where a bot's messages come from and go to, as far as it is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Group and topic (without prefix) of each input.
    pub inputs: Vec<(String, String)>,
    /// Where its events may go.
    pub outlets: Outlets,
    /// Inputs that it has in a group of its own, and not in the one that it asks for.
    pub moved: Vec<Moved>,
}

/// An input that a bot has in another group than its component asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it reads {topic} in a group of its own, {own}, since {endpoint} is not its own: to share the messages of {endpoint} it needs {}",
    self.grant().flag(&[])
)]
pub struct Moved {
    /// The topic, without prefix.
    pub topic: String,
    /// The group that it asks for.
    pub endpoint: String,
    /// The group that it has.
    pub own: String,
}

impl Moved {
    fn grant(&self) -> MissingGrant {
        MissingGrant::Join {
            topic: self.topic.clone(),
            endpoint: self.endpoint.clone(),
        }
    }
}

impl Routes {
    /// The group of each topic that is read, by topic without prefix.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<String, String> {
        let inputs = self.inputs.iter();
        inputs.map(|(group, topic)| (topic.clone(), group.clone())).collect()
    }
}

impl Bearer<'_> {
    /// The stage that the host gives failures of this bot: its component's name, unless that is a stage of the pipeline; then
    /// the name that it was loaded under, or `bot` if that is one as well.
    #[must_use]
    pub fn stage<'s>(&'s self, component: &'s str) -> &'s str {
        match self {
            Self::File { name, .. } => [component, *name]
                .into_iter()
                .find(|word| of_stage(word).is_none())
                .unwrap_or("bot"),
            Self::Stock(_) => component,
        }
    }
}

/// Compare a request with what is granted.
///
/// The second part is what is missing: a bot is loaded only if that is empty. The routes are those that the bot has then,
/// or would have with what is missing.
#[must_use]
pub fn weigh(bearer: Bearer<'_>, request: &Request<'_>, grants: &Grants) -> (Routes, Vec<MissingGrant>) {
    match bearer {
        Bearer::Stock(stock) => (stock_routes(stock, request), Vec::new()),
        Bearer::File { name, component } => Scales { name, grants }.weigh(component, request),
    }
}

fn stock_routes(stock: &str, request: &Request<'_>) -> Routes {
    let own = STOCK_TYPES.iter().filter(|(name, _)| *name == stock);
    let types = Types::Granted {
        others: false,
        named: own.map(|(_, event_type)| (*event_type).to_owned()).collect(),
    };
    let outlet = |topic: &String| Outlet {
        topic: topic.clone(),
        types: types.clone(),
    };
    let topics = request.outputs.iter();
    Routes {
        inputs: request.inputs.to_vec(),
        outlets: Outlets {
            topics: topics.map(|(name, topic)| (name.clone(), outlet(topic))).collect(),
            failures: Failures::Any,
            grantable: false,
        },
        moved: Vec::new(),
    }
}

/// A bot from a file, and its grants.
struct Scales<'a> {
    name: &'a str,
    grants: &'a Grants,
}

impl Scales<'_> {
    fn weigh(&self, component: &str, request: &Request<'_>) -> (Routes, Vec<MissingGrant>) {
        let mut routes = Routes {
            outlets: Outlets {
                failures: Failures::Of(self.stages(component)),
                grantable: true,
                ..Outlets::default()
            },
            ..Routes::default()
        };
        let mut missing: Vec<MissingGrant> = Vec::new();
        for (endpoint, topic) in request.inputs {
            let group = self.group(
                topic,
                endpoint,
                request.endpoint_chosen,
                &mut routes.moved,
                &mut missing,
            );
            routes.inputs.push((group, topic.clone()));
        }
        for (name, topic) in request.outputs {
            let outlet = self.outlet(topic, &mut missing);
            routes.outlets.topics.insert(name.clone(), outlet);
        }
        let mut once = Vec::new();
        for grant in missing {
            if !once.contains(&grant) {
                once.push(grant);
            }
        }
        (routes, once)
    }

    /// The group that the bot reads a topic in.
    fn group(
        &self,
        topic: &str,
        endpoint: &str,
        chosen: bool,
        moved: &mut Vec<Moved>,
        missing: &mut Vec<MissingGrant>,
    ) -> String {
        let shares = || self.grants.read.iter().any(|grant| grant.allows_in(topic, endpoint));
        let readable = self.owns(topic) || self.grants.read.iter().any(|grant| grant.allows(topic));
        let (own, joined) = (self.owns(endpoint), shares());
        if !own && !joined && chosen {
            missing.push(MissingGrant::Join {
                topic: topic.to_owned(),
                endpoint: endpoint.to_owned(),
            });
        } else if !readable {
            missing.push(MissingGrant::Read(topic.to_owned()));
        }
        if own || joined || chosen {
            return endpoint.to_owned();
        }
        moved.push(Moved {
            topic: topic.to_owned(),
            endpoint: endpoint.to_owned(),
            own: self.name.to_owned(),
        });
        self.name.to_owned()
    }

    fn outlet(&self, topic: &str, missing: &mut Vec<MissingGrant>) -> Outlet {
        let grants = self.grants.publish.iter().filter(|grant| grant.reaches(topic));
        let (mut others, mut named) = (self.owns(topic), BTreeSet::new());
        for grant in grants {
            match grant.event_type() {
                Some(event_type) => {
                    named.insert(event_type.to_owned());
                }
                None => others = true,
            }
        }
        // Failures of its own need no grant.
        if !others && named.is_empty() && topic != FAILURES {
            missing.push(MissingGrant::Publish(topic.to_owned()));
            others = true;
        }
        Outlet {
            topic: topic.to_owned(),
            types: Types::Granted { others, named },
        }
    }

    /// Whether a topic or an endpoint is the bot's name, or lies below it.
    fn owns(&self, name: &str) -> bool {
        let below = name.strip_prefix(self.name);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !super::is_reserved_name(self.name)
    }

    /// What failures of the bot call their stage. Without a grant that can be no stage of the pipeline.
    fn stages(&self, component: &str) -> Vec<String> {
        let mut stages = vec![self.name.to_owned()];
        stages.extend((component != self.name).then(|| component.to_owned()));
        stages.retain(|stage| of_stage(stage).is_none());
        stages
    }
}
