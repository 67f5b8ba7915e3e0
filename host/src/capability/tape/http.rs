//! What a bot requests of web servers.

use serde::{Deserialize, Serialize};

use super::world::{Content, Exchange, Reel, World};

/// An HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub struct Http;

/// What is requested. Header fields are left out: they are where the secrets are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAsked {
    /// Method.
    pub method: String,
    /// URL.
    pub url: String,
    /// Body; left out if it is empty.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
}

/// Why there is no answer: the contract's `http.error`. What isn't granted is never asked, and so never recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpFailure {
    /// A redirect, or the address that a name has, isn't granted.
    NotGranted(String),
    /// Malformed.
    BadRequest(String),
    /// Too slow.
    TimedOut,
    /// Too large.
    TooLarge,
    /// The network or the server.
    Unavailable(String),
}

impl Reel for Http {
    const WHAT: &'static str = "HTTP request";
    type Asked = HttpAsked;
    type Answer = HttpAnswer;
    type Error = HttpFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.http
    }
}
