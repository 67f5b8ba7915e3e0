//! Where an HTTP answer redirects to.

use ureq::http::header::LOCATION;
use ureq::http::{Response, StatusCode};
use url::Url;

/// A redirect to something that is no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a redirect to {to:?}: {source}")]
pub struct BadRedirect {
    to: String,
    source: url::ParseError,
}

/// Where an answer redirects to, whatever the request's method; `None` if it doesn't. Nothing is followed here: the caller compares
/// the new URL with its grants, and keeps what is meant for the first server to itself.
///
/// # Errors
/// [`BadRedirect`].
pub fn redirect<B>(answer: &Response<B>, from: &Url) -> Result<Option<Url>, BadRedirect> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.filter(|_| redirects.contains(&answer.status())) else {
        return Ok(None);
    };
    from.join(to).map(Some).map_err(|source| BadRedirect {
        to: to.to_owned(),
        source,
    })
}
