//! Settings about the broker.

use super::{Setting, setting};

pub(in crate::config) const BROKER_LISTEN: Setting = setting(
    "broker",
    "listen",
    "address",
    Some("127.0.0.1:1883"),
    "",
    "Address and port of the embedded broker. Port 0 takes a free one. Without this setting a free port is taken as well where 1883 is in use: `foundry-host status` says which.",
);
pub(in crate::config) const BROKER_URL: Setting = setting(
    "broker",
    "url",
    "URL",
    None,
    "the embedded broker",
    "Use another MQTT 5 broker: `mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` for TLS. Excludes the settings of the embedded one.",
);
pub(in crate::config) const BROKER_USER: Setting = setting(
    "broker",
    "user",
    "name",
    None,
    "none",
    "User name at the broker that `url` names.",
);
pub(in crate::config) const BROKER_PASSWORD_FILE: Setting = setting(
    "broker",
    "password-file",
    "file",
    None,
    "no password",
    "File with the user's password, on its first line, for its owner alone.",
);
pub(in crate::config) const BROKER_CA: Setting = setting(
    "broker",
    "ca",
    "file",
    None,
    "the certificates that the machine trusts",
    "Certificates of the authorities to believe about the broker of an `mqtts` URL, in PEM form.",
);
pub(in crate::config) const BROKER_CERTIFICATE: Setting = setting(
    "broker",
    "certificate",
    "file",
    None,
    "none",
    "This host's certificate, in PEM form, for a broker that asks for one; with `key`.",
);
pub(in crate::config) const BROKER_KEY: Setting = setting(
    "broker",
    "key",
    "file",
    None,
    "none",
    "The certificate's private key, in PEM form.",
);
pub(in crate::config) const BROKER_TLS: Setting = setting(
    "broker",
    "tls",
    "table",
    None,
    "no TLS",
    "A port of the embedded broker with TLS: `listen`, `certificate`, `key`, `client-ca`.",
);
pub(in crate::config) const BROKER_WEBSOCKET: Setting = setting(
    "broker",
    "websocket",
    "table",
    None,
    "no WebSockets",
    "A port of the embedded broker for WebSockets: `listen`, `tls`, `origins`.",
);
pub(in crate::config) const BROKER_ACCESS: Setting = setting(
    "broker",
    "access",
    "table",
    None,
    "everybody on this machine may watch, and the owner of the state directory may do everything",
    "Who may connect to the embedded broker, and do what: `anonymous`, `users`, `roles`.",
);
pub(in crate::config) const BROKER_LIMITS: Setting = setting(
    "broker",
    "limits",
    "table",
    None,
    "bounds that fit most",
    "Bounds of the embedded broker.",
);
