//! Every setting of `foundry.toml`: its name, form, default and meaning. Parsing takes the defaults from here, and
//! `docs/configuration.md` is checked against it.

mod bots;
mod broker;
mod builds;
mod mail;
mod messages;
mod network;
mod retention;

pub(super) use bots::{
    BOT_DIGEST, BOT_GRANTS, BOT_INSTANCES, BOT_MEMORY, BOT_SIGNED, BOT_TIMEOUT, BOT_USE, GRANT_APT, GRANT_ARTIFACTS,
    GRANT_BUILD, GRANT_FILES, GRANT_GIT, GRANT_HTTP, GRANT_MAIL, GRANT_PUBLISH, GRANT_READ, GRANT_SIGN, GRANT_SITE,
    GRANT_SUITES, GRANT_WITHOUT,
};
pub(super) use broker::{
    BROKER_ACCESS, BROKER_CA, BROKER_CERTIFICATE, BROKER_KEY, BROKER_LIMITS, BROKER_LISTEN, BROKER_PASSWORD_FILE,
    BROKER_TLS, BROKER_URL, BROKER_USER, BROKER_WEBSOCKET,
};
pub(super) use builds::{
    BUILDS_BACKEND, BUILDS_DISK, BUILDS_JOBS, BUILDS_LOG, BUILDS_MEMORY, BUILDS_PROCESSES, BUILDS_ROOT_MAX_AGE,
    BUILDS_TIME, BUILDS_USER_ID,
};
pub(super) use mail::{MAIL_CA, MAIL_FROM, MAIL_HOURLY, MAIL_PASSWORD_FILE, MAIL_SERVER, MAIL_USER};
pub(super) use messages::{
    MESSAGES_BACKLOG_AGE, MESSAGES_BACKLOG_MESSAGES, MESSAGES_BACKLOG_SIZE, MESSAGES_BACKLOG_TOPICS, MESSAGES_EXPECT,
    MESSAGES_KEEP, MESSAGES_KEY, MESSAGES_MAX_AGE, MESSAGES_OBSERVE, MESSAGES_OUTBOX_EVENTS, MESSAGES_OUTBOX_SIZE,
    MESSAGES_PEER_WAIT, MESSAGES_PREFIX, MESSAGES_TRUST,
};
pub(super) use network::{NETWORK_CLEAR_TEXT_HOSTS, NETWORK_PRIVATE_HOSTS};
pub(super) use retention::{
    RETENTION_ARTIFACTS, RETENTION_ARTIFACTS_SIZE, RETENTION_BOTS, RETENTION_CACHES, RETENTION_CACHES_SIZE,
    RETENTION_LOG_FILE, RETENTION_LOGS_SIZE, RETENTION_RUNS, RETENTION_RUNS_SIZE, RETENTION_STOP_FREE,
    RETENTION_WARN_FREE,
};

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its table: `broker`; `bots.NAME` for those of a bot.
    pub table: &'static str,
    /// Its key in the table.
    pub key: &'static str,
    /// What its value looks like.
    pub form: &'static str,
    /// The value when it isn't given, written as in the file.
    pub default: Option<&'static str>,
    /// What the default is, where it isn't the same everywhere.
    pub default_note: &'static str,
    /// What it is for.
    pub help: &'static str,
}

const fn setting(
    table: &'static str,
    key: &'static str,
    form: &'static str,
    default: Option<&'static str>,
    default_note: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        table,
        key,
        form,
        default,
        default_note,
        help,
    }
}

pub(super) const HOST_NAME: Setting = setting(
    "host",
    "name",
    "name",
    None,
    "the machine's name at the first start",
    "The host's name, unique on its broker: letters, digits, `.`, `_` and `-`.",
);
pub(super) const HOST_STATE: Setting = setting(
    "host",
    "state",
    "directory",
    None,
    "`/var/lib/foundry` for root, else `$XDG_STATE_HOME/foundry` or `~/.local/state/foundry`",
    "Where the host keeps its ledger, keys, artifacts, logs and control socket. `--state` and `FOUNDRY_STATE` take precedence.",
);
pub(super) const HOST_DRAIN: Setting = setting(
    "host",
    "drain",
    "time",
    Some("5s"),
    "",
    "How long messages in hand may take to be finished when a bot or the host is stopped. The others are done again.",
);
pub(super) const HOST_REQUIRE_SIGNED_BOTS: Setting = setting(
    "host",
    "require-signed-bots",
    "true or false",
    Some("false"),
    "",
    "Load bots from files only if a key with the role `bots` signed them.",
);
pub(super) const HOST_LONGEST_MESSAGE: Setting = setting(
    "host",
    "longest-message",
    "time",
    Some("10m"),
    "",
    "The most time for one message that a bot from a file gets by asking for it. A bot's `timeout` takes precedence; stock bots have what they ask for.",
);
pub(super) const KEYS_PASSPHRASE_FILE: Setting = setting(
    "keys",
    "passphrase-file",
    "file",
    None,
    "the file that `FOUNDRY_PASSPHRASE_FILE` names",
    "File with the passphrase of all keys that have none of their own; only its owner may read it.",
);
pub(super) const KEYS_PASSPHRASE_FILES: Setting = setting(
    "keys",
    "passphrase-files",
    "table of files",
    None,
    "",
    "Passphrase files by key: `[keys.passphrase-files]`, then `FINGERPRINT = \"FILE\"`.",
);
pub(super) const ARTIFACTS_URL: Setting = setting(
    "artifacts",
    "url",
    "directory or URL",
    None,
    "`artifacts` in the state directory",
    "Where artifacts are kept: a directory that all hosts share, or `s3://BUCKET/PREFIX`.",
);
pub(super) const ARTIFACTS_ENDPOINT: Setting = setting(
    "artifacts",
    "endpoint",
    "URL",
    None,
    "`AWS_ENDPOINT_URL`, else Amazon's",
    "The S3 service: `https://HOST[:PORT]`.",
);
pub(super) const ARTIFACTS_REGION: Setting = setting(
    "artifacts",
    "region",
    "name",
    None,
    "`AWS_REGION`, else `us-east-1`",
    "The service's region.",
);
pub(super) const ARTIFACTS_CREDENTIALS: Setting = setting(
    "artifacts",
    "credentials",
    "file",
    None,
    "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, else what the machine is lent by its cloud",
    "File with `access-key-id = \"…\"` and `secret-access-key = \"…\"`, for its owner alone.",
);
pub(super) const ARTIFACTS_CA: Setting = setting(
    "artifacts",
    "ca",
    "file",
    None,
    "the certificates that the machine trusts",
    "Certificates of the authorities to believe about the S3 service, in PEM form.",
);

/// All settings, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    HOST_NAME,
    HOST_STATE,
    HOST_DRAIN,
    HOST_LONGEST_MESSAGE,
    HOST_REQUIRE_SIGNED_BOTS,
    BROKER_LISTEN,
    BROKER_URL,
    BROKER_USER,
    BROKER_PASSWORD_FILE,
    BROKER_CA,
    BROKER_CERTIFICATE,
    BROKER_KEY,
    BROKER_TLS,
    BROKER_WEBSOCKET,
    BROKER_ACCESS,
    BROKER_LIMITS,
    MESSAGES_PREFIX,
    MESSAGES_KEY,
    MESSAGES_TRUST,
    MESSAGES_MAX_AGE,
    MESSAGES_OUTBOX_EVENTS,
    MESSAGES_OUTBOX_SIZE,
    MESSAGES_PEER_WAIT,
    MESSAGES_KEEP,
    MESSAGES_BACKLOG_TOPICS,
    MESSAGES_BACKLOG_AGE,
    MESSAGES_BACKLOG_MESSAGES,
    MESSAGES_BACKLOG_SIZE,
    MESSAGES_EXPECT,
    MESSAGES_OBSERVE,
    KEYS_PASSPHRASE_FILE,
    KEYS_PASSPHRASE_FILES,
    ARTIFACTS_URL,
    ARTIFACTS_ENDPOINT,
    ARTIFACTS_REGION,
    ARTIFACTS_CREDENTIALS,
    ARTIFACTS_CA,
    BUILDS_BACKEND,
    BUILDS_JOBS,
    BUILDS_TIME,
    BUILDS_MEMORY,
    BUILDS_DISK,
    BUILDS_PROCESSES,
    BUILDS_LOG,
    BUILDS_ROOT_MAX_AGE,
    BUILDS_USER_ID,
    RETENTION_RUNS,
    RETENTION_RUNS_SIZE,
    RETENTION_LOGS_SIZE,
    RETENTION_LOG_FILE,
    RETENTION_ARTIFACTS,
    RETENTION_ARTIFACTS_SIZE,
    RETENTION_CACHES,
    RETENTION_CACHES_SIZE,
    RETENTION_BOTS,
    RETENTION_WARN_FREE,
    RETENTION_STOP_FREE,
    MAIL_SERVER,
    MAIL_FROM,
    MAIL_USER,
    MAIL_PASSWORD_FILE,
    MAIL_CA,
    MAIL_HOURLY,
    NETWORK_PRIVATE_HOSTS,
    NETWORK_CLEAR_TEXT_HOSTS,
    BOT_USE,
    BOT_DIGEST,
    BOT_SIGNED,
    BOT_INSTANCES,
    BOT_MEMORY,
    BOT_TIMEOUT,
    BOT_GRANTS,
    GRANT_ARTIFACTS,
    GRANT_BUILD,
    GRANT_GIT,
    GRANT_HTTP,
    GRANT_MAIL,
    GRANT_READ,
    GRANT_PUBLISH,
    GRANT_SIGN,
    GRANT_SITE,
    GRANT_FILES,
    GRANT_APT,
    GRANT_SUITES,
    GRANT_WITHOUT,
];

/// The keys of a table. All others of a bot's table are options of the bot.
pub(super) fn keys_of(table: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    SETTINGS
        .iter()
        .filter(move |setting| setting.table == table)
        .map(|setting| setting.key)
}
