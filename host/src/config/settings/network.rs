//! Settings about the network that the host is in.

use super::{Setting, setting};

pub(in crate::config) const NETWORK_PRIVATE_HOSTS: Setting = setting(
    "network",
    "private-hosts",
    "list of hosts",
    None,
    "none",
    "Hosts of granted URLs whose names may lead to private addresses (loopback, RFC 1918, link-local, …): `git.example.org`, or `*.example.org`. A grant that is an address itself, or `localhost`, needs no entry.",
);
pub(in crate::config) const NETWORK_CLEAR_TEXT_HOSTS: Setting = setting(
    "network",
    "clear-text-hosts",
    "list of hosts",
    None,
    "none",
    "Hosts other than this machine that may be spoken to without TLS: passwords of git and bots over `http://`, a broker over `mqtt://`, an S3 service over `http://`, a mail server over `smtp+insecure://`.",
);
