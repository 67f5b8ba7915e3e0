//! `load` without a running host: one starts in the background, or the user learns why not.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::home::{Home, Said, eventually, load, said};

#[test]
fn load_starts_a_host_if_there_is_none() {
    let home = Home::new();
    let said = home.run(&load(&[&Home::guest("relay")]));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err
            .contains("started host here in the background: broker mqtt://127.0.0.1:"),
        "{}",
        said.err
    );
    assert!(said.err.contains("host.log"), "{}", said.err);
    assert!(said.err.ends_with("loaded relay\n"), "{}", said.err);
    let bots = home.json(&["list"]);
    assert_eq!(
        (&bots[0]["bot"], &bots[0]["status"]),
        (&"relay".into(), &"running".into())
    );
    let pid = home.json(&["status"])["pid"].as_u64().unwrap();
    // It is the leader of a session of its own: no terminal can take it away.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string());
}

/// All files and directories below one, with their modes.
fn modes(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            found.extend(modes(&entry.path()));
        }
        if !about.is_symlink() {
            found.push((entry.path(), about.mode()));
        }
    }
    found
}

#[test]
fn nothing_of_a_host_can_be_written_by_others_whatever_the_shell_allows() {
    let home = Home::new();
    std::fs::set_permissions(home.state(), Permissions::from_mode(0o755)).unwrap();
    let program = home.command(&[]).get_program().to_owned();
    let mut shell = home.command_of(Path::new("/bin/sh"), &["-c", "umask 000; exec \"$@\"", "sh"]);
    shell.arg(program).args(load(&[&Home::guest("relay")]));
    let said = said(shell.output().unwrap());
    assert_eq!(said.code, 0, "{}", said.err);
    let open: Vec<_> = modes(&home.state())
        .into_iter()
        .filter(|(_, mode)| mode & 0o022 != 0)
        .collect();
    // Who may connect to the socket is for the kernel to say, by its mode.
    assert!(open.is_empty(), "{open:?}");
    let readable = |name: &str| std::fs::metadata(home.state().join(name)).unwrap().mode() & 0o077;
    assert_eq!(readable("broker"), 0);
}

#[test]
fn a_state_directory_that_others_may_write_to_is_refused() {
    let home = Home::new();
    std::fs::set_permissions(home.state(), Permissions::from_mode(0o777)).unwrap();
    let said = home.run(&load(&[&Home::guest("relay")]));
    let remedy = format!("chmod go-w {}", home.state().display());
    assert!(said.code != 0 && said.err.contains(&remedy), "{}", said.err);
    std::fs::set_permissions(home.state(), Permissions::from_mode(0o700)).unwrap();
    home.ok(&load(&[&Home::guest("relay")]));
}

#[test]
fn a_host_that_cannot_start_in_the_background_is_not_invisible() {
    let home = Home::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    std::fs::write(
        home.state().join("foundry.toml"),
        format!("[broker]\nlisten = \"{address}\"\n"),
    )
    .unwrap();
    let said = home.run(&load(&[&Home::guest("relay")]));
    assert_eq!(said.code, 6, "{}", said.err);
    let expected = format!("cannot start a host in the background: cannot listen on {address}");
    assert!(
        said.err.contains(&expected) && said.err.contains("broker.listen"),
        "{}",
        said.err
    );
    assert!(said.err.contains("host.log"), "{}", said.err);
}

#[test]
fn a_host_with_a_broken_configuration_is_not_invisible() {
    let home = Home::new();
    std::fs::write(home.state().join("foundry.toml"), "[broker]\nlistn = \"x\"\n").unwrap();
    let said = home.run(&load(&[&Home::guest("relay")]));
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("foundry.toml:2: broker.listn"), "{}", said.err);
    assert!(said.err.contains("did you mean `listen`?"), "{}", said.err);
}

#[test]
fn two_loads_at_the_same_time_share_one_host() {
    let home = Home::new();
    let both: Vec<Said> = std::thread::scope(|scope| {
        let load = || said(home.command(&["load", "buildbot"]).output().unwrap());
        let loads = [scope.spawn(load), scope.spawn(load), scope.spawn(load)];
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    assert!(both.iter().all(|said| said.code == 0), "{both:?}");
    let bots = home.json(&["list"]);
    let names: Vec<_> = bots
        .as_array()
        .unwrap()
        .iter()
        .map(|bot| bot["bot"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["buildbot", "buildbot-2", "buildbot-3"]);
}

#[test]
fn a_wrong_option_starts_no_host() {
    let home = Home::new();
    let said = home.run(&["load", &Home::guest("relay"), "--first", "many"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("--first \"many\": not a whole number"),
        "{}",
        said.err
    );
    let said = home.run(&["load", &Home::guest("relay"), "--frist", "1"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--first"), "{}", said.err);
    assert_eq!(home.run(&["status"]).code, 3);
}

#[test]
fn loaded_bots_come_back_until_they_are_stopped() {
    let home = Home::new();
    let guest = Home::guest("relay");
    home.ok(&load(&[&guest, "--as", "stays", "--publish-to", "elsewhere"]));
    home.ok(&load(&[&guest, "--as", "goes"]));
    home.ok(&["stop", "goes"]);
    home.ok(&["shutdown"]);
    let _host = home.host(&[]);
    let bots = home.json(&["list"]);
    let bots = bots.as_array().unwrap();
    assert_eq!(bots.len(), 1, "{bots:?}");
    assert_eq!(
        (&bots[0]["bot"], &bots[0]["publishes"][0]),
        (&"stays".into(), &"elsewhere".into())
    );
}

#[test]
fn a_bot_that_cannot_come_back_is_shown_with_the_reason() {
    let home = Home::new();
    let copy = home.path().join("copy.wasm");
    std::fs::copy(Home::guest("relay"), &copy).unwrap();
    home.ok(&load(&["./copy.wasm"]));
    home.ok(&load(&[&Home::guest("noop")]));
    home.ok(&["shutdown"]);
    std::fs::remove_file(&copy).unwrap();
    let _host = home.host(&[]);
    let bots = home.json(&["list"]);
    let state: Vec<_> = bots
        .as_array()
        .unwrap()
        .iter()
        .map(|bot| (bot["bot"].as_str().unwrap(), bot["status"].as_str().unwrap()))
        .collect();
    assert_eq!(state, [("noop", "running"), ("relay", "absent")]);
    let shown = home.ok(&["list"]);
    assert!(
        shown.contains("relay: cannot read") && shown.contains("copy.wasm"),
        "{shown}"
    );
    home.ok(&["stop", "relay"]);
    assert_eq!(home.json(&["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_idle_bot_stops_without_waiting_for_messages_to_be_finished() {
    let home = Home::patient();
    home.ok(&load(&[&Home::guest("relay")]));
    home.ok(&["stop", "relay"]);
    eventually("it is gone from the broker", || {
        home.json(&["list"]).as_array().unwrap().is_empty()
    });
}
