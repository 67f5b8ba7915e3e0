//! What it means that a server refuses, or that a connection fails.

use ureq::http::StatusCode;

use super::HttpSession;
use crate::capability::git::GitError;
use crate::capability::git::advertisement::{BadAdvertisement, TooLong, printable};
use crate::reach::PrivateAddress;

impl HttpSession {
    pub(super) fn refused(&self, status: StatusCode) -> GitError {
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.is_trusted() => {
                let place = self.learned().place.base.clone();
                format!(
                    "the server redirects to {place}, which refuses access ({status}): credentials are for what the URL names, so name \
                     it by that one"
                )
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the server refuses access ({status}); put credentials into ~/.netrc or a git credential helper of the host's user"
            ),
            StatusCode::NOT_FOUND | StatusCode::GONE => format!("there is no repository ({status})"),
            status => return GitError::unavailable(&self.shown, format!("the server answers {status}")),
        };
        GitError::not_found(&self.shown, why)
    }

    /// What an error of the HTTP client means.
    pub(super) fn explain(&self, error: ureq::Error) -> GitError {
        match error {
            ureq::Error::Timeout(_) => GitError::timed_out(&self.shown, self.deadline.limit()),
            ureq::Error::Io(error) => self.explain_io(&error),
            // Other errors may quote headers or URLs, but ours have no credentials that they'd quote.
            other => GitError::unavailable(&self.shown, printable(&other.to_string())),
        }
    }

    /// What an error while reading or writing means.
    pub(in crate::capability::git) fn explain_io(&self, error: &std::io::Error) -> GitError {
        if let Some(refused) = PrivateAddress::within(error) {
            return GitError::unavailable(&self.shown, refused);
        }
        if TooLong::is_within(error) {
            return GitError::bad(self.shown.to_string(), TooLong.to_string());
        }
        let timeout = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        match timeout {
            Some(ureq::Error::Timeout(_)) => GitError::timed_out(&self.shown, self.deadline.limit()),
            _ if error.kind() == std::io::ErrorKind::TimedOut => {
                GitError::timed_out(&self.shown, self.deadline.limit())
            }
            _ => GitError::unavailable(&self.shown, printable(&error.to_string())),
        }
    }

    pub(super) fn explain_advertisement(&self, error: BadAdvertisement) -> GitError {
        match error {
            BadAdvertisement::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                GitError::unavailable(&self.shown, "the server's answer is cut off")
            }
            BadAdvertisement::Io(error) => self.explain_io(&error),
            BadAdvertisement::TooLarge(why) => GitError::bad(self.shown.to_string(), why),
            BadAdvertisement::Refused(why) => GitError::not_found(&self.shown, format!("the server says: {why}")),
            BadAdvertisement::Malformed(why) => GitError::not_found(
                &self.shown,
                format!("there is a web server, but no git repository: {why}"),
            ),
        }
    }
}
