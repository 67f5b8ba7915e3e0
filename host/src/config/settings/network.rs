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
    "Hosts other than this machine that passwords may be sent to without TLS: git and bots over `http://`, the broker over `mqtt://`, and session tokens for an S3 service over `http://`.",
);
