//! The control socket: no client, however rude, harms the host or another client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::home::{Home, load};

fn connect(home: &Home) -> UnixStream {
    let stream = UnixStream::connect(home.state().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What the host replies to bytes.
fn reply_to(home: &Home, bytes: &[u8]) -> Value {
    let mut stream = connect(home);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn garbage_is_answered_with_an_error() {
    let home = Home::new();
    let _host = home.host(&[]);
    for garbage in [
        &b"\n"[..],
        b"hello\n",
        b"{}\n",
        b"{\"version\": 1, \"request\": \"dance\"}\n",
        b"\xff\xfe\n",
        b"",
    ] {
        let reply = reply_to(&home, garbage);
        assert_eq!(reply["failed"]["kind"], "usage", "{garbage:?}: {reply}");
    }
    let reply = reply_to(&home, &[b'x'; 2 * 1024 * 1024][..1024 * 1024]);
    assert_eq!(reply["failed"]["kind"], "usage", "{reply}");
    home.ok(&["status"]);
}

#[test]
fn another_version_is_told_so() {
    let home = Home::new();
    let _host = home.host(&[]);
    let reply = reply_to(&home, b"{\"version\": 99, \"request\": \"status\"}\n");
    let message = reply["failed"]["message"].as_str().unwrap();
    assert!(
        message.contains("99") && message.contains("restart the host"),
        "{message}"
    );
}

#[test]
fn clients_that_hang_do_not_keep_others_from_being_served() {
    let home = Home::new();
    let _host = home.host(&[]);
    // More than the host serves at the same time, which it lets go after a while.
    let hanging: Vec<_> = (0..100).map(|_| connect(&home)).collect();
    home.ok(&["status"]);
    let mut first = &hanging[0];
    let mut text = String::new();
    // The host ended the connection; whether it said why first does not matter.
    let _ = first.read_to_string(&mut text);
}

#[test]
fn a_client_that_leaves_in_the_middle_harms_nobody() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay"), "--first", "3", "--start", "100ms"]));
    for request in [
        json!({ "logs": { "of": null, "lines": 10, "follow": true } }),
        json!({ "watch": { "filter": "#" } }),
    ] {
        let mut stream = connect(&home);
        writeln!(
            stream,
            "{}",
            json!({ "version": foundry_host::control::VERSION, "request": request })
        )
        .unwrap();
        let mut some = [0; 10];
        if request.get("watch").is_some() {
            stream.read_exact(&mut some).unwrap();
        }
        drop(stream);
    }
    // A load is done to its end, whether anybody waits for it or not.
    let mut stream = connect(&home);
    let spec =
        json!({ "source": { "file": Home::guest("noop") }, "name": "orphan", "grants": { "read": ["noop-in"] } });
    writeln!(
        stream,
        "{}",
        json!({ "version": foundry_host::control::VERSION, "request": { "load": spec } })
    )
    .unwrap();
    drop(stream);
    super::home::eventually("it is loaded", || home.ok(&["list"]).contains("orphan"));
}

#[test]
fn two_clients_at_once_are_both_served() {
    let home = Home::new();
    let _host = home.host(&[]);
    let guest = Home::guest("noop");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (home, guest) = (&home, &guest);
            scope.spawn(move || {
                let name = format!("bot-{n}");
                home.ok(&load(&[guest, "--as", &name]));
                home.ok(&["list"]);
                home.ok(&["stop", &name]);
            });
        }
    });
    assert!(home.json(&["list"]).as_array().unwrap().is_empty());
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay"), "--first", "100", "--start", "100ms"]));
    let mut stream = connect(&home);
    writeln!(
        stream,
        "{}",
        json!({ "version": foundry_host::control::VERSION, "request": { "watch": { "filter": "#" } } })
    )
    .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    home.ok(&["list"]);
    drop(stream);
}
