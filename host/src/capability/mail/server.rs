//! Which server takes the mail, and how one talks to it.

use std::str::FromStr;

use url::{Host, Url};

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Who may read along.
    pub encryption: Encryption,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first byte.
    Implicit,
    /// TLS after STARTTLS. A server that doesn't offer it gets nothing.
    StartTls,
    /// None, which is for this machine, and for hosts that the operator names (`network.clear-text-hosts`).
    None,
}

/// Why a text names no mail server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    /// Something else.
    #[error("write smtps://HOST[:PORT], smtp://HOST[:PORT] (with STARTTLS) or smtp+insecure://HOST[:PORT] (without)")]
    Form,
    /// Passwords belong into a file.
    #[error("it must not hold a user's name or password (write them as user and password-file)")]
    Credentials,
}

impl FromStr for MailServer {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let url = Url::parse(text).map_err(|_| BadServer::Form)?;
        let (encryption, usual) = match url.scheme() {
            "smtps" => (Encryption::Implicit, 465),
            "smtp" => (Encryption::StartTls, 587),
            "smtp+insecure" => (Encryption::None, 25),
            _ => return Err(BadServer::Form),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadServer::Credentials);
        }
        if !["", "/"].contains(&url.path()) || url.query().is_some() || url.fragment().is_some() {
            return Err(BadServer::Form);
        }
        // Schemes that the URL standard doesn't know have their hosts unparsed.
        let host = Host::parse(url.host_str().unwrap_or_default()).map_err(|_| BadServer::Form)?;
        Ok(Self {
            host: match host {
                Host::Domain(name) => name,
                Host::Ipv4(address) => address.to_string(),
                Host::Ipv6(address) => address.to_string(),
            },
            port: url.port().unwrap_or(usual),
            encryption,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_whose_scheme_says_how_it_is_protected() {
        let parsed = |text: &str| text.parse::<MailServer>().unwrap();
        let server = |host: &str, port, encryption| MailServer {
            host: host.to_owned(),
            port,
            encryption,
        };
        assert_eq!(
            parsed("smtps://mail.example.org"),
            server("mail.example.org", 465, Encryption::Implicit)
        );
        assert_eq!(
            parsed("smtp://Mail.example.org:25/"),
            server("mail.example.org", 25, Encryption::StartTls)
        );
        assert_eq!(
            parsed("smtp+insecure://localhost"),
            server("localhost", 25, Encryption::None)
        );
        assert_eq!(
            parsed("smtp+insecure://[::1]:2525"),
            server("::1", 2525, Encryption::None)
        );
        for (text, why) in [
            ("mail.example.org", BadServer::Form),
            ("http://mail.example.org", BadServer::Form),
            ("smtp://", BadServer::Form),
            ("smtp://mail.example.org/x", BadServer::Form),
            ("smtp://jo:secret@mail.example.org", BadServer::Credentials),
        ] {
            assert_eq!(text.parse::<MailServer>(), Err(why), "{text}");
        }
    }
}
