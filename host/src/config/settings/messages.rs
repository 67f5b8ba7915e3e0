//! Settings about messages.

use super::{Setting, setting};

pub(in crate::config) const MESSAGES_PREFIX: Setting = setting(
    "messages",
    "prefix",
    "topic",
    Some("foundry"),
    "",
    "First part of every topic.",
);
pub(in crate::config) const MESSAGES_KEY: Setting = setting(
    "messages",
    "key",
    "key",
    None,
    "the key store's key with the role `messages`, made at the first start",
    "The key that signs this host's messages: a fingerprint, key id or user id.",
);
pub(in crate::config) const MESSAGES_TRUST: Setting = setting(
    "messages",
    "trust",
    "list of fingerprints",
    None,
    "all keys with the role `messages` that are bound to a host",
    "The keys whose messages are handled, as far as their hosts may say them. The host's own is always among them.",
);
pub(in crate::config) const MESSAGES_MAX_AGE: Setting = setting(
    "messages",
    "max-age",
    "time",
    Some("14d"),
    "",
    "Older messages are refused, so that nobody can play them again.",
);
pub(in crate::config) const MESSAGES_OUTBOX_EVENTS: Setting = setting(
    "messages",
    "outbox-events",
    "number",
    Some("10000"),
    "",
    "Events that may wait for the broker before bots take no more messages.",
);
pub(in crate::config) const MESSAGES_OUTBOX_SIZE: Setting = setting(
    "messages",
    "outbox-size",
    "size",
    Some("64M"),
    "",
    "The same, in bytes of these events.",
);
pub(in crate::config) const MESSAGES_PEER_WAIT: Setting = setting(
    "messages",
    "peer-wait",
    "time",
    Some("1m"),
    "",
    "How long a message that came again waits for a host that is away and may have handled it. `forever` waits until that host is back.",
);
pub(in crate::config) const MESSAGES_KEEP: Setting = setting(
    "messages",
    "keep",
    "time",
    Some("10s"),
    "",
    "How long an event stays in the outbox after the broker that `url` names has acknowledged it, in case that it dies and forgets it. `0s` keeps nothing.",
);
pub(in crate::config) const MESSAGES_EXPECT: Setting = setting(
    "messages",
    "expect",
    "list of topics and endpoints",
    None,
    "none",
    "Groups of bots on other hosts whose first member may come later than `backlog-age`: the embedded broker keeps their messages from its start on, for 30 days, as `\"commits pub/buildbot\"`.",
);
pub(in crate::config) const MESSAGES_BACKLOG_TOPICS: Setting = setting(
    "messages",
    "backlog-topics",
    "list of topics",
    None,
    "`commits`, `builds`, `signs` and `dists`",
    "Topics, without prefix, of which the embedded broker keeps the newest messages for groups that are created later.",
);
pub(in crate::config) const MESSAGES_BACKLOG_AGE: Setting = setting(
    "messages",
    "backlog-age",
    "time",
    Some("1h"),
    "",
    "For how long it keeps them. `0s` keeps nothing.",
);
pub(in crate::config) const MESSAGES_BACKLOG_MESSAGES: Setting = setting(
    "messages",
    "backlog-messages",
    "number",
    Some("1000"),
    "",
    "How many it keeps, of all these topics together; the oldest go first. 0 keeps nothing.",
);
pub(in crate::config) const MESSAGES_BACKLOG_SIZE: Setting = setting(
    "messages",
    "backlog-size",
    "size",
    Some("64M"),
    "",
    "The same, in bytes of these messages.",
);
pub(in crate::config) const MESSAGES_OBSERVE: Setting = setting(
    "messages",
    "observe",
    "list of topics",
    None,
    "the topics of the stock bots",
    "Further topics, without prefix, whose events `foundry-host runs` shows.",
);
