//! Debian's Mosquitto, configured as the documentation says: the configuration is taken from there.

use std::path::Path;

/// The page.
pub const PAGE: &str = include_str!("../../docs/external-broker.md");

/// The documented configuration, with a directory and a port of the test's own.
pub fn configuration(directory: &Path, port: u16) -> String {
    let (_, rest) = PAGE.split_once("```conf\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let user = String::from_utf8(std::process::Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let mut conf = format!("user {user}");
    for line in block.lines() {
        match line.split_whitespace().next() {
            Some("listener") => conf += &format!("listener {port} 127.0.0.1\n"),
            Some("persistence_location") => conf += &format!("persistence_location {}/\n", directory.display()),
            // The page shows how users log in; this test is about something else.
            Some("allow_anonymous") => conf += "allow_anonymous true\n",
            Some("password_file" | "cafile" | "certfile" | "keyfile" | "log_dest") => {}
            _ => {
                conf += line;
                conf += "\n";
            }
        }
    }
    conf
}
