//! Settings about mail.

use super::{Setting, setting};

pub(in crate::config) const MAIL_SERVER: Setting = setting(
    "mail",
    "server",
    "URL",
    None,
    "no mail",
    "The server that takes the host's mail: `smtps://HOST[:465]` for TLS, `smtp://HOST[:587]` for STARTTLS, without which nothing is sent, or `smtp+insecure://HOST[:25]` without TLS, for a server on this machine or one that `network.clear-text-hosts` names.",
);
pub(in crate::config) const MAIL_FROM: Setting = setting(
    "mail",
    "from",
    "address",
    None,
    "required",
    "Whom the mail is from: `foundry@example.org`, or `Foundry <foundry@example.org>`.",
);
pub(in crate::config) const MAIL_USER: Setting =
    setting("mail", "user", "name", None, "none", "User name at the server.");
pub(in crate::config) const MAIL_PASSWORD_FILE: Setting = setting(
    "mail",
    "password-file",
    "file",
    None,
    "`FOUNDRY_MAIL_PASSWORD`",
    "File with the user's password, on its first line, for its owner alone.",
);
pub(in crate::config) const MAIL_CA: Setting = setting(
    "mail",
    "ca",
    "file",
    None,
    "the certificates that the machine trusts",
    "Certificates of the authorities to believe about the server, in PEM form.",
);
pub(in crate::config) const MAIL_HOURLY: Setting = setting(
    "mail",
    "hourly",
    "number",
    Some("100"),
    "",
    "Mails that each bot may send in an hour.",
);
