//! Settings about bots and their rights.

use super::{Setting, setting};

pub(in crate::config) const BOT_USE: Setting = setting(
    "bots.NAME",
    "use",
    "bot",
    None,
    "required",
    "The bot: `watchbot`, `buildbot`, `signbot`, `distbot`, or a component's file, such as `./lint.wasm`.",
);
pub(in crate::config) const BOT_DIGEST: Setting = setting(
    "bots.NAME",
    "digest",
    "text",
    None,
    "any",
    "The component's digest, as `inspect` shows it: `sha256:` and hex. Another component is not loaded.",
);
pub(in crate::config) const BOT_SIGNED: Setting = setting(
    "bots.NAME",
    "signed",
    "true or false",
    Some("false"),
    "",
    "Load the component only if a key with the role `bots` signed it.",
);
pub(in crate::config) const BOT_INSTANCES: Setting = setting(
    "bots.NAME",
    "instances",
    "number",
    Some("1"),
    "",
    "Messages that the bot may handle at the same time.",
);
pub(in crate::config) const BOT_MEMORY: Setting =
    setting("bots.NAME", "memory", "size", None, "256M", "Memory of one instance.");
pub(in crate::config) const BOT_TIMEOUT: Setting = setting(
    "bots.NAME",
    "timeout",
    "time",
    None,
    "what the bot asks for, up to `host.longest-message`, or 2m",
    "Time that one message may take.",
);
pub(in crate::config) const BOT_GRANTS: Setting = setting(
    "bots.NAME",
    "grants",
    "table",
    None,
    "",
    "Rights beyond those that a stock bot has by its options.",
);
pub(in crate::config) const GRANT_ARTIFACTS: Setting = setting(
    "bots.NAME.grants",
    "artifacts",
    "true or false",
    Some("false"),
    "",
    "Read and store artifacts.",
);
pub(in crate::config) const GRANT_BUILD: Setting = setting(
    "bots.NAME.grants",
    "build",
    "true or false",
    Some("false"),
    "",
    "Build packages in the host's sandbox.",
);
pub(in crate::config) const GRANT_GIT: Setting = setting(
    "bots.NAME.grants",
    "git",
    "list of URLs",
    None,
    "none",
    "Git repositories that it may read; `*` stands for any text within the host or the path, and alone for all.",
);
pub(in crate::config) const GRANT_HTTP: Setting = setting(
    "bots.NAME.grants",
    "http",
    "list of texts",
    None,
    "none",
    "URLs that it may ask over HTTP; `*` stands for any text within the host or the path.",
);
pub(in crate::config) const GRANT_READ: Setting = setting(
    "bots.NAME.grants",
    "read",
    "list of topics",
    None,
    "its own",
    "Topics, without prefix, that it may read beyond its own: `TOPIC`, or `TOPIC@ENDPOINT` to share the messages of that endpoint as well. `+` and `#` as in MQTT.",
);
pub(in crate::config) const GRANT_PUBLISH: Setting = setting(
    "bots.NAME.grants",
    "publish",
    "list of topics",
    None,
    "its own",
    "Topics, without prefix, that it may publish on beyond its own: `TOPIC` for all types but the pipeline's, or `TOPIC:TYPE` for that type. `+` and `#` as in MQTT.",
);
pub(in crate::config) const GRANT_SIGN: Setting = setting(
    "bots.NAME.grants",
    "sign",
    "list of keys",
    None,
    "none",
    "Keys that it may have the host sign with.",
);
pub(in crate::config) const GRANT_SITE: Setting = setting(
    "bots.NAME.grants",
    "site",
    "list of directories",
    None,
    "none",
    "Directories that it may publish into.",
);
pub(in crate::config) const GRANT_FILES: Setting = setting(
    "bots.NAME.grants",
    "files",
    "list of files",
    None,
    "none",
    "Files that the host may use for its builds, such as keyrings.",
);
pub(in crate::config) const GRANT_APT: Setting = setting(
    "bots.NAME.grants",
    "apt",
    "list of texts",
    None,
    "none",
    "Package sources that its builds may use besides the machine's own: `[OPTIONS] URI SUITE COMPONENT...`, with `*` for any text within each. Options such as `trusted=yes` only where they are named.",
);
pub(in crate::config) const GRANT_SUITES: Setting = setting(
    "bots.NAME.grants",
    "suites",
    "list of texts",
    None,
    "none",
    "Suites that it may build for besides the machine's own; `*` stands for any text.",
);
pub(in crate::config) const GRANT_WITHOUT: Setting = setting(
    "bots.NAME.grants",
    "without",
    "list of rights",
    None,
    "none",
    "Rights that it is loaded without, although it asks for them: `http`, `mail`, `git`, `signing`, `site`. Each use is refused.",
);
pub(in crate::config) const GRANT_MAIL: Setting = setting(
    "bots.NAME.grants",
    "mail",
    "list of addresses",
    None,
    "none",
    "Addresses that it may have the host send mail to; `*` stands for any text before or after the `@`.",
);
