//! A conversation with the server: one connection for each mail.

use std::time::{Duration, Instant};

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;

use super::server::{Encryption, MailServer};
use super::settings::{Login, MailSettings, MailSetupError};
use super::{Letter, MailError};

/// How long a mail may take, from the connection to the server's last word.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How much of what a server says is told.
const MAX_SAID: usize = 300;

/// Sends mail through one server.
pub(super) struct Sender {
    server: MailServer,
    from: Mailbox,
    login: Option<Login>,
    tls: Option<TlsParameters>,
    hello: ClientId,
}

type Failure = lettre::transport::smtp::Error;

impl Sender {
    pub(super) fn new(settings: &MailSettings) -> Result<Self, MailSetupError> {
        let tls = match settings.server.encryption {
            Encryption::None => None,
            Encryption::Implicit | Encryption::StartTls => Some(tls(settings)?),
        };
        Ok(Self {
            server: settings.server.clone(),
            from: settings.from.clone(),
            login: settings.login.clone(),
            tls,
            hello: hello(),
        })
    }

    /// Where its mail comes from.
    pub(super) fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// Send a mail. Returns what the server said when it took it.
    pub(super) fn send(&self, letter: &Letter, recipients: &[Address]) -> Result<String, MailError> {
        let mail = letter
            .compose(&self.from, recipients)
            .map_err(|error| MailError::BadRequest(error.to_string()))?;
        let deadline = Instant::now() + TIMEOUT;
        let mut session = Session {
            connection: self.connect(deadline).map_err(|error| self.unavailable(&error))?,
            deadline,
        };
        let sent = self.hand_over(&mut session, recipients, &mail);
        // Also says goodbye. What was taken stays taken, however that goes.
        session.connection.abort();
        sent
    }

    /// A connection that is protected as it has to be, and knows who the host is.
    fn connect(&self, deadline: Instant) -> Result<SmtpConnection, Failure> {
        let address = (self.server.host.as_str(), self.server.port);
        let from_the_start = self
            .tls
            .as_ref()
            .filter(|_| self.server.encryption == Encryption::Implicit);
        let mut connection = SmtpConnection::connect(address, Some(left(deadline)), &self.hello, from_the_start, None)?;
        if let (Encryption::StartTls, Some(tls)) = (self.server.encryption, &self.tls) {
            connection.starttls(tls, &self.hello)?;
        }
        if let Some(Login { user, password }) = &self.login {
            let credentials = Credentials::new(user.clone(), password.0.clone());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials)?;
        }
        Ok(connection)
    }

    fn hand_over(&self, session: &mut Session, recipients: &[Address], mail: &[u8]) -> Result<String, MailError> {
        let from = Mail::new(Some(self.from.email.clone()), Vec::new());
        session
            .ask(|connection| connection.command(from))
            .map_err(|error| self.refusal(&error))?;
        for address in recipients {
            let to = Rcpt::new(address.clone(), Vec::new());
            session
                .ask(|connection| connection.command(to))
                .map_err(|error| match error.is_permanent() {
                    true => MailError::RefusedAddress {
                        address: address.to_string(),
                        said: said(&error),
                    },
                    false => self.refusal(&error),
                })?;
        }
        session
            .ask(|connection| connection.command(Data))
            .map_err(|error| self.refusal(&error))?;
        let taken = session
            .ask(|connection| connection.message(mail))
            .map_err(|error| self.refusal(&error))?;
        Ok(shown(&format!(
            "{} {}",
            taken.code(),
            taken.message().collect::<Vec<_>>().join(" ")
        )))
    }

    fn refusal(&self, error: &Failure) -> MailError {
        if error.is_permanent() {
            MailError::Refused(said(error))
        } else if error.is_transient() {
            MailError::TryLater(said(error))
        } else {
            self.unavailable(error)
        }
    }

    fn unavailable(&self, error: &Failure) -> MailError {
        MailError::Unavailable(format!("{}:{}: {}", self.server.host, self.server.port, said(error)))
    }
}

/// A connection that may be used for so long.
struct Session {
    connection: SmtpConnection,
    deadline: Instant,
}

impl Session {
    fn ask(&mut self, ask: impl FnOnce(&mut SmtpConnection) -> Result<Response, Failure>) -> Result<Response, Failure> {
        // If it can't be set, the connection is dead, and what is asked says so.
        let _ = self.connection.set_timeout(Some(left(self.deadline)));
        ask(&mut self.connection)
    }
}

fn left(deadline: Instant) -> Duration {
    // Zero would mean no limit.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

fn tls(settings: &MailSettings) -> Result<TlsParameters, MailSetupError> {
    let host = settings.server.host.clone();
    let unusable = |error: Failure| MailSetupError::Tls {
        host: host.clone(),
        why: error.to_string(),
    };
    let mut tls = TlsParameters::builder(host.clone());
    if let Some(path) = &settings.ca {
        let pem = std::fs::read(path).map_err(|source| MailSetupError::Read {
            path: path.clone(),
            source,
        })?;
        let authorities = Certificate::from_pem(&pem).map_err(unusable)?;
        tls = tls
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authorities);
    }
    tls.build_rustls().map_err(unusable)
}

/// The machine's name, where it is one for the world.
fn hello() -> ClientId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_whole = name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    match is_whole {
        true => ClientId::Domain(name),
        false => ClientId::default(),
    }
}

/// What the server said, or what happened to the connection.
fn said(error: &Failure) -> String {
    let text = match (error.status(), std::error::Error::source(error)) {
        (Some(code), Some(words)) => format!("{code} {words}"),
        (Some(code), None) => code.to_string(),
        (None, _) if error.is_timeout() => "no answer in time".to_owned(),
        (None, Some(cause)) => cause.to_string(),
        (None, None) => error.to_string(),
    };
    shown(&text)
}

/// A server's words, for logs and dead letters.
fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(MAX_SAID).collect()
}
