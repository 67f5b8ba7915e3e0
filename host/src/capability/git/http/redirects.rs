//! Where a repository's server may redirect to, and whether credentials go there.

use url::Url;

use super::{HttpSession, Place};
use crate::capability::git::GitError;
use crate::reach::{Scheme, Server};

impl HttpSession {
    /// Where a redirect leads, if it may: anywhere on the server that the location names, and to what else the bot was granted. Only
    /// what is on that server and granted too, or the repository itself, hears the credentials.
    pub(super) fn follow(&self, from: &Place, next: &Url, file: &str) -> Result<Place, GitError> {
        let base = base_of(next, file);
        let to = || base.as_ref().map_or_else(|| origin_of(next), ToString::to_string);
        let server = Server::of(next)
            .ok_or_else(|| GitError::not_found(&self.shown, format!("the server redirects to {}", to())))?;
        if self.own.server.scheme == Scheme::Https && server.scheme == Scheme::Http {
            // What began encrypted stays encrypted.
            let why = "the server redirects from https to http; this is not followed";
            return Err(GitError::not_found(&self.shown, why));
        }
        let at_home = server == self.own.server;
        let granted = base.as_ref().and_then(|base| self.permits.admit_landing(base));
        // A server of many users may have some who write redirects to what others keep from them.
        let trusted = at_home && (granted.is_some() || base.as_ref().is_some_and(|base| self.is_same_repository(base)));
        let admitted = match at_home {
            true => Some(self.own.addresses),
            false => granted,
        };
        let addresses = admitted.ok_or_else(|| {
            let why = "which is not granted: name it by that URL if that is what is meant";
            GitError::not_found(&self.shown, format!("the server redirects to {}, {why}", to()))
        })?;
        Ok(Place {
            base: base.unwrap_or_else(|| from.base.clone()),
            server,
            addresses,
            trusted,
        })
    }

    /// Whether a URL on the location's server is the location's own, with or without the `.git` that servers add.
    fn is_same_repository(&self, base: &Url) -> bool {
        let name = |url: &Url| {
            let path = url.path().trim_end_matches('/');
            path.strip_suffix(".git").unwrap_or(path).to_owned()
        };
        name(base) == name(&self.own.base)
    }
}

/// A URL for messages, without what may be secret.
fn origin_of(url: &Url) -> String {
    Server::of(url).map_or_else(|| format!("{}:", url.scheme()), |server| server.to_string())
}

/// The repository's URL, from that of a file in it, without a user or a password.
fn base_of(url: &Url, file: &str) -> Option<Url> {
    let path = url.path().strip_suffix(file)?.to_owned();
    let mut base = url.clone();
    base.set_query(None);
    base.set_fragment(None);
    // These can't fail: the URL has a host.
    let _ = base.set_username("");
    let _ = base.set_password(None);
    base.set_path(&path);
    Some(base)
}
