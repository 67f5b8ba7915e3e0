//! The table `[mail]`.

use std::path::Path;

use toml::de::DeTable;

use super::parse::absolute;
use super::problem::Problems;
use super::reader::{Found, Section};
use super::settings::{MAIL_CA, MAIL_FROM, MAIL_HOURLY, MAIL_PASSWORD_FILE, MAIL_SERVER, MAIL_USER};
use crate::capability::mail::{Encryption, Login, MailServer, MailSettings, Password};
use crate::reach::{Exposed, Host, Network};

/// Has the password where no file does.
const PASSWORD: &str = "FOUNDRY_MAIL_PASSWORD";

/// How mail is sent, if the file says so.
pub(super) fn read(
    document: &DeTable<'_>,
    base: &Path,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<MailSettings> {
    let section = Section::top(document, "mail", problems);
    section.refuse_unknown(problems);
    section.at?;
    let missing = [
        (&MAIL_SERVER, "write server = \"smtps://mail.example.org\""),
        (&MAIL_FROM, "write from = \"foundry@example.org\""),
    ];
    for (setting, remedy) in missing {
        if section.has(setting).is_none() {
            problems.error(section.at, &section.key(setting), "it is missing", remedy);
        }
    }
    let server = section.has(&MAIL_SERVER).and_then(|_| {
        section.parsed(&MAIL_SERVER, problems, |text| {
            text.parse::<MailServer>().map_err(|error| error.to_string())
        })
    });
    if let Some(Found { value: server, at }) = &server
        && server.encryption == Encryption::None
        && let Err(error) = network.in_clear(Exposed::Mail, &Host::parse(&server.host))
    {
        problems.error(*at, &section.key(&MAIL_SERVER), error.to_string(), "");
    }
    let from = section.has(&MAIL_FROM).and_then(|_| {
        section.parsed(&MAIL_FROM, problems, |text| {
            let remedy = "write an address, such as foundry@example.org";
            text.parse().map_err(|_| remedy.to_owned())
        })
    });
    let login = login(&section, base, problems);
    let hourly = section.parsed(&MAIL_HOURLY, problems, |text| {
        text.parse().map_err(|_| "write a whole number".to_owned())
    });
    Some(MailSettings {
        server: server?.value,
        from: from?.value,
        login,
        ca: section
            .text(&MAIL_CA, problems)
            .map(|found| absolute(found.value, base)),
        hourly: hourly?.value,
    })
}

fn login(section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<Login> {
    let user = section.text(&MAIL_USER, problems);
    let file = section.text(&MAIL_PASSWORD_FILE, problems);
    let (user, password) = match (user, file) {
        (Some(user), Some(file)) => match Password::read(&absolute(file.value, base)) {
            Ok(password) => (user, password),
            Err(error) => {
                problems.error(file.at, &section.key(&MAIL_PASSWORD_FILE), error.to_string(), "");
                return None;
            }
        },
        (Some(user), None) => match std::env::var(PASSWORD) {
            Ok(password) => (user, Password::new(password)),
            Err(_) => {
                let remedy = format!("add mail.password-file, or set {PASSWORD}");
                problems.error(
                    user.at,
                    &section.key(&MAIL_USER),
                    "there is a user and no password",
                    remedy,
                );
                return None;
            }
        },
        (None, Some(file)) => {
            let key = section.key(&MAIL_PASSWORD_FILE);
            problems.error(file.at, &key, "there is a password and no user", "add mail.user");
            return None;
        }
        (None, None) => return None,
    };
    Some(Login {
        user: user.value,
        password,
    })
}
