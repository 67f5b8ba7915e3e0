//! Every setting of `foundry.toml`: its name, form, default and meaning. Parsing takes the defaults from here, and
//! `docs/configuration.md` is checked against it.

mod mail;
mod network;
mod retention;

pub(super) use mail::{
    GRANT_MAIL, GRANT_WITHOUT, MAIL_CA, MAIL_FROM, MAIL_HOURLY, MAIL_PASSWORD_FILE, MAIL_SERVER, MAIL_USER,
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
pub(super) const BROKER_LISTEN: Setting = setting(
    "broker",
    "listen",
    "address",
    Some("127.0.0.1:1883"),
    "",
    "Address and port of the embedded broker. Port 0 takes a free one. Without this setting a free port is taken as well where 1883 is in use: `foundry-host status` says which.",
);
pub(super) const BROKER_URL: Setting = setting(
    "broker",
    "url",
    "URL",
    None,
    "the embedded broker",
    "Use another MQTT 5 broker: `mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` for TLS. Excludes the settings of the embedded one.",
);
pub(super) const BROKER_USER: Setting = setting(
    "broker",
    "user",
    "name",
    None,
    "none",
    "User name at the broker that `url` names.",
);
pub(super) const BROKER_PASSWORD_FILE: Setting = setting(
    "broker",
    "password-file",
    "file",
    None,
    "no password",
    "File with the user's password, on its first line, for its owner alone.",
);
pub(super) const BROKER_CA: Setting = setting(
    "broker",
    "ca",
    "file",
    None,
    "the certificates that the machine trusts",
    "Certificates of the authorities to believe about the broker of an `mqtts` URL, in PEM form.",
);
pub(super) const BROKER_CERTIFICATE: Setting = setting(
    "broker",
    "certificate",
    "file",
    None,
    "none",
    "This host's certificate, in PEM form, for a broker that asks for one; with `key`.",
);
pub(super) const BROKER_KEY: Setting = setting(
    "broker",
    "key",
    "file",
    None,
    "none",
    "The certificate's private key, in PEM form.",
);
pub(super) const BROKER_TLS: Setting = setting(
    "broker",
    "tls",
    "table",
    None,
    "no TLS",
    "A port of the embedded broker with TLS: `listen`, `certificate`, `key`, `client-ca`.",
);
pub(super) const BROKER_WEBSOCKET: Setting = setting(
    "broker",
    "websocket",
    "table",
    None,
    "no WebSockets",
    "A port of the embedded broker for WebSockets: `listen`, `tls`, `origins`.",
);
pub(super) const BROKER_ACCESS: Setting = setting(
    "broker",
    "access",
    "table",
    None,
    "everybody on this machine may watch, and the owner of the state directory may do everything",
    "Who may connect to the embedded broker, and do what: `anonymous`, `users`, `roles`.",
);
pub(super) const BROKER_LIMITS: Setting = setting(
    "broker",
    "limits",
    "table",
    None,
    "bounds that fit most",
    "Bounds of the embedded broker.",
);
pub(super) const MESSAGES_PREFIX: Setting = setting(
    "messages",
    "prefix",
    "topic",
    Some("foundry"),
    "",
    "First part of every topic.",
);
pub(super) const MESSAGES_KEY: Setting = setting(
    "messages",
    "key",
    "key",
    None,
    "the key store's key with the role `messages`, made at the first start",
    "The key that signs this host's messages: a fingerprint, key id or user id.",
);
pub(super) const MESSAGES_TRUST: Setting = setting(
    "messages",
    "trust",
    "list of fingerprints",
    None,
    "all keys with the role `messages` that are bound to a host",
    "The keys whose messages are handled, as far as their hosts may say them. The host's own is always among them.",
);
pub(super) const MESSAGES_MAX_AGE: Setting = setting(
    "messages",
    "max-age",
    "time",
    Some("14d"),
    "",
    "Older messages are refused, so that nobody can play them again.",
);
pub(super) const MESSAGES_OUTBOX_EVENTS: Setting = setting(
    "messages",
    "outbox-events",
    "number",
    Some("10000"),
    "",
    "Events that may wait for the broker before bots take no more messages.",
);
pub(super) const MESSAGES_OUTBOX_SIZE: Setting = setting(
    "messages",
    "outbox-size",
    "size",
    Some("64M"),
    "",
    "The same, in bytes of these events.",
);
pub(super) const MESSAGES_PEER_WAIT: Setting = setting(
    "messages",
    "peer-wait",
    "time",
    Some("1m"),
    "",
    "How long a message that came again waits for a host that is away and may have handled it. `forever` waits until that host is back.",
);
pub(super) const MESSAGES_KEEP: Setting = setting(
    "messages",
    "keep",
    "time",
    Some("10s"),
    "",
    "How long an event stays in the outbox after the broker that `url` names has acknowledged it, in case that it dies and forgets it. `0s` keeps nothing.",
);
pub(super) const MESSAGES_EXPECT: Setting = setting(
    "messages",
    "expect",
    "list of topics and endpoints",
    None,
    "none",
    "Groups of bots on other hosts whose first member may come later than `backlog-age`: the embedded broker keeps their messages from its start on, for 30 days, as `\"commits pub/buildbot\"`.",
);
pub(super) const MESSAGES_BACKLOG_TOPICS: Setting = setting(
    "messages",
    "backlog-topics",
    "list of topics",
    None,
    "`commits`, `builds`, `signs` and `dists`",
    "Topics, without prefix, of which the embedded broker keeps the newest messages for groups that are created later.",
);
pub(super) const MESSAGES_BACKLOG_AGE: Setting = setting(
    "messages",
    "backlog-age",
    "time",
    Some("1h"),
    "",
    "For how long it keeps them. `0s` keeps nothing.",
);
pub(super) const MESSAGES_BACKLOG_MESSAGES: Setting = setting(
    "messages",
    "backlog-messages",
    "number",
    Some("1000"),
    "",
    "How many it keeps, of all these topics together; the oldest go first. 0 keeps nothing.",
);
pub(super) const MESSAGES_BACKLOG_SIZE: Setting = setting(
    "messages",
    "backlog-size",
    "size",
    Some("64M"),
    "",
    "The same, in bytes of these messages.",
);
pub(super) const MESSAGES_OBSERVE: Setting = setting(
    "messages",
    "observe",
    "list of topics",
    None,
    "the topics of the stock bots",
    "Further topics, without prefix, whose events `foundry-host runs` shows.",
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
pub(super) const BUILDS_BACKEND: Setting = setting(
    "builds",
    "backend",
    "sandbox",
    None,
    "the first that fits the build",
    "Build only in this kind of sandbox: `host-root` is this machine's own root, read only; `layered` is the same with missing build dependencies in a layer above it (needs root); `own-root` is a root made by mmdebstrap.",
);
pub(super) const BUILDS_JOBS: Setting = setting(
    "builds",
    "jobs",
    "number",
    None,
    "one per processor",
    "How many jobs a build may run in parallel.",
);
pub(super) const BUILDS_TIME: Setting = setting(
    "builds",
    "time",
    "time",
    Some("2h"),
    "",
    "Time that a build may take, its preparation included.",
);
pub(super) const BUILDS_MEMORY: Setting = setting(
    "builds",
    "memory",
    "size",
    Some("8G"),
    "",
    "Memory of all of a build's processes together.",
);
pub(super) const BUILDS_DISK: Setting = setting("builds", "disk", "size", Some("20G"), "", "What a build may write.");
pub(super) const BUILDS_PROCESSES: Setting = setting(
    "builds",
    "processes",
    "number",
    Some("4096"),
    "",
    "Processes and threads that a build may have at one time.",
);
pub(super) const BUILDS_LOG: Setting = setting(
    "builds",
    "log",
    "size",
    Some("64M"),
    "",
    "How much of a build's log is kept.",
);
pub(super) const BUILDS_ROOT_MAX_AGE: Setting = setting(
    "builds",
    "root-max-age",
    "time",
    Some("7d"),
    "",
    "How long a root made for a suite is used before a new one is made.",
);
pub(super) const BUILDS_USER_ID: Setting = setting(
    "builds",
    "user-id",
    "number",
    Some("1900000000"),
    "",
    "User and group id that builds have when the host runs as root. Nobody else may have it, nor, where root has no range in `/etc/subuid` and `/etc/subgid`, the 65,536 after it.",
);
pub(super) const BOT_USE: Setting = setting(
    "bots.NAME",
    "use",
    "bot",
    None,
    "required",
    "The bot: `watchbot`, `buildbot`, `signbot`, `distbot`, or a component's file, such as `./lint.wasm`.",
);
pub(super) const BOT_DIGEST: Setting = setting(
    "bots.NAME",
    "digest",
    "text",
    None,
    "any",
    "The component's digest, as `inspect` shows it: `sha256:` and hex. Another component is not loaded.",
);
pub(super) const BOT_SIGNED: Setting = setting(
    "bots.NAME",
    "signed",
    "true or false",
    Some("false"),
    "",
    "Load the component only if a key with the role `bots` signed it.",
);
pub(super) const BOT_INSTANCES: Setting = setting(
    "bots.NAME",
    "instances",
    "number",
    Some("1"),
    "",
    "Messages that the bot may handle at the same time.",
);
pub(super) const BOT_MEMORY: Setting = setting("bots.NAME", "memory", "size", None, "256M", "Memory of one instance.");
pub(super) const BOT_TIMEOUT: Setting = setting(
    "bots.NAME",
    "timeout",
    "time",
    None,
    "what the bot asks for, up to `host.longest-message`, or 2m",
    "Time that one message may take.",
);
pub(super) const BOT_GRANTS: Setting = setting(
    "bots.NAME",
    "grants",
    "table",
    None,
    "",
    "Rights beyond those that a stock bot has by its options.",
);
pub(super) const GRANT_ARTIFACTS: Setting = setting(
    "bots.NAME.grants",
    "artifacts",
    "true or false",
    Some("false"),
    "",
    "Read and store artifacts.",
);
pub(super) const GRANT_BUILD: Setting = setting(
    "bots.NAME.grants",
    "build",
    "true or false",
    Some("false"),
    "",
    "Build packages in the host's sandbox.",
);
pub(super) const GRANT_GIT: Setting = setting(
    "bots.NAME.grants",
    "git",
    "list of URLs",
    None,
    "none",
    "Git repositories that it may read; `*` stands for any text within the host or the path, and alone for all.",
);
pub(super) const GRANT_HTTP: Setting = setting(
    "bots.NAME.grants",
    "http",
    "list of texts",
    None,
    "none",
    "URLs that it may ask over HTTP; `*` stands for any text within the host or the path.",
);
pub(super) const GRANT_READ: Setting = setting(
    "bots.NAME.grants",
    "read",
    "list of topics",
    None,
    "its own",
    "Topics, without prefix, that it may read beyond its own: `TOPIC`, or `TOPIC@ENDPOINT` to share the messages of that endpoint as well. `+` and `#` as in MQTT.",
);
pub(super) const GRANT_PUBLISH: Setting = setting(
    "bots.NAME.grants",
    "publish",
    "list of topics",
    None,
    "its own",
    "Topics, without prefix, that it may publish on beyond its own: `TOPIC` for all types but the pipeline's, or `TOPIC:TYPE` for that type. `+` and `#` as in MQTT.",
);
pub(super) const GRANT_SIGN: Setting = setting(
    "bots.NAME.grants",
    "sign",
    "list of keys",
    None,
    "none",
    "Keys that it may have the host sign with.",
);
pub(super) const GRANT_SITE: Setting = setting(
    "bots.NAME.grants",
    "site",
    "list of directories",
    None,
    "none",
    "Directories that it may publish into.",
);
pub(super) const GRANT_FILES: Setting = setting(
    "bots.NAME.grants",
    "files",
    "list of files",
    None,
    "none",
    "Files that the host may use for its builds, such as keyrings.",
);

pub(super) const GRANT_APT: Setting = setting(
    "bots.NAME.grants",
    "apt",
    "list of texts",
    None,
    "none",
    "Package sources that its builds may use besides the machine's own: `[OPTIONS] URI SUITE COMPONENT...`, with `*` for any text within each. Options such as `trusted=yes` only where they are named.",
);
pub(super) const GRANT_SUITES: Setting = setting(
    "bots.NAME.grants",
    "suites",
    "list of texts",
    None,
    "none",
    "Suites that it may build for besides the machine's own; `*` stands for any text.",
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
