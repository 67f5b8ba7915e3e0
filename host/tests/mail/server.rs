//! A real mail server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail/server.py");

/// aiosmtpd, with the behaviour of `server.py`. Ends with the test.
pub struct SmtpServer {
    server: Child,
    port: u16,
    mails: PathBuf,
}

impl SmtpServer {
    /// Of a kind: `implicit`, `starttls` or `plain`. Its files are in a directory, the certificate to believe in among them.
    pub fn start(kind: &str, directory: &Path) -> Self {
        certificate(directory);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/smtp-server");
        let tools = said(&Command::new(script).stderr(Stdio::inherit()).output().unwrap());
        let mails = directory.join(format!("{kind}.mails"));
        let mut server = Command::new(format!("{tools}/bin/python"))
            .args([SCRIPT, kind])
            .arg(&mails)
            .args([directory.join("server.pem"), directory.join("server.key")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let port = port.trim().parse().unwrap();
        Self { server, port, mails }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it took, in order.
    pub fn mails(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.mails).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A header field of a mail that was taken.
pub fn field(mail: &Value, name: &str) -> String {
    let content = mail["content"].as_str().unwrap();
    let (head, _) = content.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| *found == name).unwrap().1.to_owned()
}

/// One for this machine, by which it is believed as well, and one that nobody has.
fn certificate(directory: &Path) {
    for name in ["server", "other"] {
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -addext".split(' '))
            .args([
                "subjectAltName=IP:127.0.0.1,DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-subj", &format!("/CN={name}")])
            .arg("-keyout")
            .arg(directory.join(format!("{name}.key")))
            .arg("-out")
            .arg(directory.join(format!("{name}.pem")))
            .output()
            .unwrap();
        said(&made);
    }
}

/// What a program printed, which must have succeeded.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}
