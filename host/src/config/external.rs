//! The settings of `[broker]` that are about a broker elsewhere.

use std::path::{Path, PathBuf};

use super::parse::absolute;
use super::problem::Problems;
use super::reader::Section;
use super::settings::{
    BROKER_CA, BROKER_CERTIFICATE, BROKER_KEY, BROKER_PASSWORD_FILE, BROKER_URL, BROKER_USER, Setting,
};
use crate::bus::BrokerAddress;
use crate::reach::{Exposed, Host, Network};
use crate::secret_file;
use crate::tls::ClientTls;

/// All of them but the URL.
const SETTINGS: [Setting; 5] = [
    BROKER_USER,
    BROKER_PASSWORD_FILE,
    BROKER_CA,
    BROKER_CERTIFICATE,
    BROKER_KEY,
];

/// Complain about what makes no sense without a URL.
pub(super) fn refuse(section: &Section<'_>, problems: &mut Problems<'_>) {
    for setting in SETTINGS {
        if let Some(at) = section.has(&setting) {
            let message = "this is for a broker elsewhere, and there is no broker.url";
            problems.error(
                Some(at),
                &section.key(&setting),
                message,
                "add broker.url, or remove this",
            );
        }
    }
}

/// Where the broker is, and how to get in.
pub(super) fn read(
    section: &Section<'_>,
    base: &Path,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<BrokerAddress> {
    let url = section.text(&BROKER_URL, problems)?;
    // The error doesn't show the password, which the value may hold.
    let mut address = match BrokerAddress::parse(&url.value) {
        Ok(address) => address,
        Err(error) => {
            problems.error(url.at, &section.key(&BROKER_URL), error.to_string(), "");
            return None;
        }
    };
    if let Some(user) = section.text(&BROKER_USER, problems) {
        let password = password(section, base, problems)?;
        address.login = Some((user.value, password));
    } else if let Some(at) = section.has(&BROKER_PASSWORD_FILE) {
        let key = section.key(&BROKER_PASSWORD_FILE);
        problems.error(Some(at), &key, "there is a password and no user", "add broker.user");
    }
    let exposed = match address.login {
        Some(_) => Exposed::Password,
        None => Exposed::Messages,
    };
    if address.tls.is_none()
        && let Err(error) = network.in_clear(exposed, &Host::parse(&address.host))
    {
        problems.error(url.at, &section.key(&BROKER_URL), error.to_string(), "");
    }
    let file = |setting: &Setting, problems: &mut Problems<'_>| -> Option<PathBuf> {
        let found = section.text(setting, problems)?;
        Some(absolute(found.value, base))
    };
    let ca = file(&BROKER_CA, problems);
    let identity = match (file(&BROKER_CERTIFICATE, problems), file(&BROKER_KEY, problems)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let (given, missing) = if certificate.is_some() {
                (BROKER_CERTIFICATE, "add broker.key")
            } else {
                (BROKER_KEY, "add broker.certificate")
            };
            let message = "a certificate and its key go together";
            problems.error(section.has(&given), &section.key(&given), message, missing);
            None
        }
    };
    match &mut address.tls {
        Some(tls) => *tls = ClientTls { ca, identity },
        None => {
            for setting in [BROKER_CA, BROKER_CERTIFICATE, BROKER_KEY] {
                if let Some(at) = section.has(&setting) {
                    let message = "this is for TLS, which the URL does not ask for";
                    problems.error(
                        Some(at),
                        &section.key(&setting),
                        message,
                        "write mqtts:// in broker.url",
                    );
                }
            }
        }
    }
    Some(address)
}

/// The first line of the password file; an empty password without one.
fn password(section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<String> {
    let Some(found) = section.text(&BROKER_PASSWORD_FILE, problems) else {
        return Some(String::new());
    };
    match secret_file::first_line(&absolute(found.value, base)) {
        Ok(password) => Some(password),
        Err(error) => {
            problems.error(found.at, &section.key(&BROKER_PASSWORD_FILE), error.to_string(), "");
            None
        }
    }
}
