//! What a bot says about itself.

use crate::bindings::foundry::bot::types;
use crate::bindings::foundry::bot::types::OptionKind;

/// A bot's description, put together step by step.
#[derive(Debug, Clone)]
pub struct Description(types::Description);

impl Description {
    /// A bot with a name, a version and one line for its help.
    #[must_use]
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self(types::Description {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            options: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            timers: Vec::new(),
            message_timeout: None,
        })
    }

    /// It accepts an option.
    #[must_use]
    pub fn option(mut self, option: OptionBuilder) -> Self {
        self.0.options.push(option.0);
        self
    }

    /// It reads a topic, which `--OPTION` can change, as a member of a group, which `--endpoint` can change.
    #[must_use]
    pub fn reads(mut self, option: &str, topic: &str, endpoint: &str) -> Self {
        self.0.inputs.push(types::Input {
            option: option.to_owned(),
            topic: topic.to_owned(),
            endpoint: endpoint.to_owned(),
        });
        self
    }

    /// It publishes to a topic, which `--OPTION` can change.
    #[must_use]
    pub fn publishes(mut self, option: &str, topic: &str) -> Self {
        self.0.outputs.push(types::Output {
            option: option.to_owned(),
            topic: topic.to_owned(),
        });
        self
    }

    /// It has a timer, whose interval is the value of an option.
    #[must_use]
    pub fn timer(mut self, name: &str, option: &str) -> Self {
        self.0.timers.push(types::Timer {
            name: name.to_owned(),
            option: option.to_owned(),
        });
        self
    }

    /// Handling one message may take so many seconds.
    #[must_use]
    pub fn message_timeout(mut self, seconds: u32) -> Self {
        self.0.message_timeout = Some(seconds);
        self
    }
}

impl From<Description> for types::Description {
    fn from(description: Description) -> Self {
        description.0
    }
}

/// An option, put together step by step.
#[derive(Debug, Clone)]
pub struct OptionBuilder(types::OptionSpec);

impl OptionBuilder {
    /// An option with a long name, a kind, and one sentence for the help.
    #[must_use]
    pub fn new(name: &str, kind: OptionKind, help: &str) -> Self {
        let placeholder = match kind {
            OptionKind::GitUrl => "URL[#BRANCH]",
            OptionKind::Key => "KEYID",
            OptionKind::Site => "DIR",
            OptionKind::File => "FILE",
            OptionKind::Number => "N",
            OptionKind::Duration => "TIME",
            OptionKind::Text | OptionKind::Flag => "TEXT",
        };
        Self(types::OptionSpec {
            name: name.to_owned(),
            kind,
            repeatable: false,
            required: false,
            default: None,
            placeholder: placeholder.to_owned(),
            help: help.to_owned(),
        })
    }

    /// It may be given several times.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.0.repeatable = true;
        self
    }

    /// It has to be given.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.0.required = true;
        self
    }

    /// Its value when it isn't given.
    #[must_use]
    pub fn default(mut self, value: &str) -> Self {
        self.0.default = Some(value.to_owned());
        self
    }

    /// The placeholder for its value in the help.
    #[must_use]
    pub fn placeholder(mut self, placeholder: &str) -> Self {
        self.0.placeholder = placeholder.to_owned();
        self
    }
}
