//! `run`: a host's start and its end.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::home::{Home, load};

#[test]
fn a_host_says_when_it_is_ready_and_where_its_broker_is() {
    let home = Home::new();
    let host = home.start(&["run"]);
    let ready = host.read_until("is ready");
    let line = ready.lines().last().unwrap();
    assert!(
        line.starts_with("foundry-host: here is ready with 0 bots; broker mqtt://127.0.0.1:"),
        "{line}"
    );
    let status = home.json(&["status"]);
    assert_eq!(status["name"], "here");
    assert!(line.contains(status["broker"].as_str().unwrap()), "{line}, {status}");
    assert_eq!(status["pid"], host.child.id());
}

#[test]
fn an_idle_host_ends_without_waiting_for_messages_to_be_finished_when_it_is_told_to() {
    for signal in ["-TERM", "-INT"] {
        let home = Home::patient();
        let mut host = home.host(&[]);
        home.ok(&load(&[&Home::guest("relay")]));
        host.signal(signal);
        let (code, _) = host.end();
        assert_eq!(code, 0);
        assert!(!home.state().join("control.sock").exists());
        assert_eq!(home.run(&["list"]).code, 3);
    }
}

#[test]
fn shutdown_waits_until_the_host_is_gone() {
    let home = Home::new();
    let mut host = home.host(&[]);
    home.ok(&["shutdown"]);
    assert_eq!(home.run(&["status"]).code, 3);
    assert_eq!(host.end().0, 0);
}

#[test]
fn port_in_use_names_the_setting() {
    let home = Home::bare();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let config = home.write("foundry.toml", &format!("[broker]\nlisten = \"{address}\"\n"));
    let said = home.run(&["run", "-c", config.to_str().unwrap()]);
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(
        said.err.contains(&address.to_string()) && said.err.contains("broker.listen"),
        "{}",
        said.err
    );
}

#[test]
fn state_directory_in_use_is_told() {
    let home = Home::new();
    let _host = home.host(&[]);
    let said = home.run(&["run"]);
    assert_eq!(said.code, 6);
    assert!(
        said.err.contains(home.state().to_str().unwrap()) && said.err.contains("--state"),
        "{}",
        said.err
    );
    // The first host is none the worse for it.
    assert_eq!(home.json(&["status"])["name"], "here");
}

#[test]
fn a_socket_that_a_killed_host_left_is_no_obstacle() {
    let home = Home::new();
    let mut host = home.host(&[]);
    host.child.kill().unwrap();
    host.end();
    assert!(home.state().join("control.sock").exists());
    let said = home.run(&["list"]);
    assert_eq!(said.code, 3);
    assert!(
        said.err.contains("foundry-host run") && said.err.contains("--state"),
        "{}",
        said.err
    );
    let _host = home.host(&[]);
    home.ok(&["status"]);
}

#[test]
fn a_state_directory_with_too_long_a_name_for_its_socket_is_told() {
    let home = Home::new();
    let long = home.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    std::fs::copy(home.state().join("foundry.toml"), long.join("foundry.toml")).unwrap();
    let said = home.run(&["run", "--state", long.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("choose a shorter --state"), "{}", said.err);
}

#[test]
fn a_state_directory_that_is_a_file_is_told() {
    let home = Home::bare();
    let file = home.write("occupied", "");
    let said = home.run(&["run", "--state", file.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cannot use the state directory"), "{}", said.err);
}

#[test]
fn the_service_manager_is_told() {
    let home = Home::new();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = home.command(&["run"]);
    let mut child = command.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let mut buffer = [0; 64];
    let read = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"READY=1");
    home.ok(&["shutdown"]);
    let read = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"STOPPING=1");
    child.wait().unwrap();
}

#[test]
fn quiet_is_quiet_and_verbose_is_not() {
    let home = Home::new();
    let lines = |flag: &str| {
        let mut running = home.start(&["run", flag]);
        super::home::eventually("the host runs", || home.run(&["status"]).code == 0);
        running.signal("-TERM");
        running.end();
        drop(running.child.stdout.take());
        running.rest().lines().count()
    };
    assert_eq!(lines("--quiet"), 0);
    assert!(lines("-vv") > 2);
}

#[test]
fn without_a_host_every_verb_that_needs_one_says_so() {
    let home = Home::new();
    for args in [
        vec!["list"],
        vec!["stop", "x"],
        vec!["logs", "-f"],
        vec!["watch"],
        vec!["runs"],
        vec!["dead-letters", "list"],
        vec!["status"],
        vec!["shutdown"],
    ] {
        let said = home.run(&args);
        assert_eq!(said.code, 3, "{args:?}: {}", said.err);
        assert!(
            said.err.starts_with("foundry-host: no foundry-host is running"),
            "{args:?}: {}",
            said.err
        );
        assert!(said.out.is_empty());
    }
}

#[test]
fn a_secret_of_the_state_directory_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::bare();
    let config = home.write("foundry.toml", "[broker]\nlisten = \"127.0.0.1:0\"\n");
    let _host = home.host(&["-c", config.to_str().unwrap()]);
    let mode = |path: &str| std::fs::metadata(home.state().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("control.sock"), mode("keys")), (0o700, 0o600, 0o700));
}
