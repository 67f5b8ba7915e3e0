//! Topic names: what bots call `commits` is `foundry/commits` on the broker.

/// Longest topic (without prefix), and longest name of a group, in bytes.
pub const LONGEST_TOPIC: usize = 200;

/// The topic that failures go to.
pub const FAILURES: &str = "failures";

/// The part before every topic of an installation, without its final slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Topics below a prefix such as `foundry`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_matches('/').to_owned(),
        }
    }

    /// The part before every topic.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name of a topic.
    #[must_use]
    pub fn full(&self, topic: &str) -> String {
        format!("{}/{topic}", self.prefix)
    }

    /// The short name of a full topic; the whole name if it isn't below the prefix.
    #[must_use]
    pub fn short<'a>(&self, full: &'a str) -> &'a str {
        full.strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(full)
    }

    /// The live log of a host's bot in a run.
    #[must_use]
    pub fn log(&self, host: &str, run: &str, bot: &str) -> String {
        self.full(&format!("logs/{host}/{run}/{bot}"))
    }

    /// Presence of a host.
    #[must_use]
    pub fn host(&self, host: &str) -> String {
        self.full(&format!("hosts/{host}"))
    }

    /// Presence of a bot.
    #[must_use]
    pub fn bot(&self, host: &str, bot: &str) -> String {
        self.full(&format!("bots/{host}/{bot}"))
    }

    /// Where a host is asked about messages that it may have settled, and answered.
    #[must_use]
    pub fn peer(&self, host: &str) -> String {
        self.full(&format!("peers/{host}"))
    }

    /// The filter of a shared subscription (MQTT 5, section 4.8.2). A group's name may hold what a share name may
    /// not: the original's endpoints are called `pub/buildbot`.
    #[must_use]
    pub fn shared(&self, group: &str, topic: &str) -> String {
        let mut share = String::with_capacity(group.len());
        for c in group.chars() {
            match c {
                '/' => share.push_str("%2F"),
                '+' => share.push_str("%2B"),
                '#' => share.push_str("%23"),
                '%' => share.push_str("%25"),
                c => share.push(c),
            }
        }
        format!("$share/{share}/{}", self.full(topic))
    }
}

/// The group's name that [`Topics::shared`] made a share name of. Other percent signs mean nothing: members that are not
/// ours name their groups as they like.
#[must_use]
pub fn group_of(share: &str) -> String {
    let mut group = String::with_capacity(share.len());
    let mut rest = share;
    while let Some((before, after)) = rest.split_once('%') {
        group.push_str(before);
        let written = ["2F", "2B", "23", "25"].into_iter().zip(['/', '+', '#', '%']);
        let meant = written.into_iter().find_map(|(code, meant)| {
            let head = after.get(..2)?;
            head.eq_ignore_ascii_case(code).then_some((meant, after.get(2..)?))
        });
        let (c, left) = meant.unwrap_or(('%', after));
        group.push(c);
        rest = left;
    }
    group + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let topics = Topics::new("foundry/");
        assert_eq!(topics.full("commits"), "foundry/commits");
        assert_eq!(topics.short("foundry/commits"), "commits");
        assert_eq!(topics.short("foundryx/commits"), "foundryx/commits");
    }

    #[test]
    fn an_endpoint_of_the_original_makes_a_valid_share_name() {
        let topics = Topics::new("foundry");
        assert_eq!(
            topics.shared("pub/buildbot", "commits"),
            "$share/pub%2Fbuildbot/foundry/commits"
        );
    }

    #[test]
    fn a_share_name_is_the_endpoint_again_and_other_names_stay() {
        let topics = Topics::new("foundry");
        for group in ["pub/buildbot", "a+b#c%d", "100%", "%2F", "é/%"] {
            let shared = topics.shared(group, "commits");
            let share = shared.split('/').nth(1).unwrap();
            assert_eq!(group_of(share), group);
        }
        for other in ["100%", "a%zz", "%", "%é", "50%2"] {
            assert_eq!(group_of(other), other);
        }
    }
}
