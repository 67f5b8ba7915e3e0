//! Grants that a bot lacks, and how they are written.

use std::fmt;

use super::Interface;

/// Something that a bot asks for and was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingGrant {
    /// An interface of the contract.
    Import {
        /// The import's full name.
        import: String,
        /// The interface.
        interface: Interface,
    },
    /// To read a topic, without prefix.
    Read(String),
    /// To read a topic as a member of a group that is not the bot's own.
    Join {
        /// The topic, without prefix.
        topic: String,
        /// The group.
        endpoint: String,
    },
    /// To publish on a topic, without prefix.
    Publish(String),
    /// To publish events of one type on a topic.
    PublishType {
        /// The topic, without prefix.
        topic: String,
        /// The type.
        event_type: String,
    },
}

impl MissingGrant {
    /// The option of `load` that grants it, ready for a shell, where it names what is granted: `--allow-git URL` leaves that
    /// to the operator. `bots_own` are the names of the bot's own options: where one is called as the host's, the host's has
    /// `host-` before its name.
    #[must_use]
    pub fn flag(&self, bots_own: &[String]) -> String {
        let (option, value) = match self {
            Self::Import { interface, .. } => match interface.flag().split_once(' ') {
                Some((option, placeholder)) => (option, Some(placeholder.to_owned())),
                None => (interface.flag(), None),
            },
            Self::Read(_) | Self::Join { .. } => ("--allow-read", self.value()),
            Self::Publish(_) | Self::PublishType { .. } => ("--allow-publish", self.value()),
        };
        let name = option.trim_start_matches('-');
        let option = match bots_own.iter().any(|own| own == name) {
            true => format!("--host-{name}"),
            false => option.to_owned(),
        };
        match value {
            Some(value) => format!("{option} {}", shell_word(&value)),
            None => option,
        }
    }

    /// What is written in a grant of a topic: `commits`, `commits@pub/buildbot`, `builds:foundry.build.v1`.
    #[must_use]
    pub fn value(&self) -> Option<String> {
        match self {
            Self::Import { .. } => None,
            Self::Read(topic) | Self::Publish(topic) => Some(topic.clone()),
            Self::Join { topic, endpoint } => Some(format!("{topic}@{endpoint}")),
            Self::PublishType { topic, event_type } => Some(format!("{topic}:{event_type}")),
        }
    }
}

/// As a verb and its object, after the bot: `reads commits`.
impl fmt::Display for MissingGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Import { import, .. } => write!(f, "imports {import}"),
            Self::Read(topic) => write!(f, "reads {topic}"),
            Self::Join { topic, endpoint } => write!(f, "reads {topic} in the group {endpoint}"),
            Self::Publish(topic) => write!(f, "publishes on {topic}"),
            Self::PublishType { topic, event_type } => write!(f, "publishes {event_type} on {topic}"),
        }
    }
}

/// All that a bot lacks: never nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// What it was not granted.
    pub grants: Vec<MissingGrant>,
    /// The names of the bot's own options.
    pub bots_own: Vec<String>,
}

impl Lacking {
    /// The options of `load` that would grant it all, ready for a shell.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let flags = self.grants.iter().map(|grant| grant.flag(&self.bots_own));
        flags.collect()
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it ")?;
        for (at, grant) in self.grants.iter().enumerate() {
            let before = match at {
                0 => "",
                at if at + 1 == self.grants.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}{grant}")?;
        }
        write!(f, ", which is not granted (add {}", self.flags().join(" "))?;
        let imports = |grant: &MissingGrant| matches!(grant, MissingGrant::Import { .. });
        f.write_str(match self.grants.as_slice() {
            [only] if imports(only) => ", or remove the import)",
            _ => ")",
        })
    }
}

/// A text as one word of a POSIX shell: what a component calls its topics must not become a command.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_names_all_that_is_missing_and_the_options_that_grant_it() {
        let import = MissingGrant::Import {
            import: "foundry:bot/signing@0.1.1".to_owned(),
            interface: Interface::Signing,
        };
        let mut lacking = Lacking {
            grants: vec![import],
            bots_own: Vec::new(),
        };
        assert_eq!(
            lacking.to_string(),
            "it imports foundry:bot/signing@0.1.1, which is not granted (add --allow-sign KEYID, or remove the import)"
        );
        lacking.grants.push(MissingGrant::Read("commits".to_owned()));
        lacking.grants.push(MissingGrant::Publish("reports".to_owned()));
        assert_eq!(
            lacking.to_string(),
            "it imports foundry:bot/signing@0.1.1, reads commits and publishes on reports, which is not granted \
             (add --allow-sign KEYID --allow-read commits --allow-publish reports)"
        );
    }

    #[test]
    fn a_topic_is_one_word_for_the_shell_whatever_a_component_calls_it() {
        let read = |topic: &str| MissingGrant::Read(topic.to_owned()).flag(&[]);
        assert_eq!(read("a/b-c.d"), "--allow-read a/b-c.d");
        assert_eq!(read("x; rm -r $HOME"), "--allow-read 'x; rm -r $HOME'");
        assert_eq!(read("it's"), r"--allow-read 'it'\''s'");
        assert_eq!(read("#"), "--allow-read '#'");
        assert_eq!(read(""), "--allow-read ''");
    }

    #[test]
    fn an_option_that_the_bot_has_itself_is_the_hosts_with_host_before_it() {
        let grant = MissingGrant::Read("commits".to_owned());
        assert_eq!(grant.flag(&["allow-read".to_owned()]), "--host-allow-read commits");
    }
}
