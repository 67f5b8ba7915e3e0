//! A helper does not outlive whoever has it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;

/// Set for the process that is to be killed while it has a helper.
const HOST: &str = "FOUNDRY_TEST_HOST_OF_HELPER";

/// Whether a process is there, and not waiting to be counted out.
fn is_there(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn wait_until_gone(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while is_there(process) {
        assert!(Instant::now() < deadline, "process {process} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn busy() -> Helper {
    let mut helper = hostile_with(LIMITS);
    helper.send(&Order::Answer(1)).unwrap();
    helper.receive_bytes().unwrap();
    helper.send(&Order::Spin).unwrap();
    helper
}

#[test]
fn a_helper_ends_with_its_owner() {
    let helper = busy();
    let process = helper.process();
    assert!(is_there(process));
    drop(helper);
    assert!(!is_there(process));
}

#[test]
fn a_helper_outlives_the_thread_that_asked_for_it() {
    let mut helper = std::thread::spawn(|| Helper::start(&ECHO, Grants::default()).unwrap())
        .join()
        .unwrap();
    helper.send("still there").unwrap();
    assert_eq!(helper.receive::<String>().unwrap(), "still there");
}

#[test]
fn the_hosts_death_kills_its_helpers_whatever_they_do() {
    if std::env::var_os(HOST).is_some() {
        let helper = busy();
        println!("\nhelper {}", helper.process());
        std::thread::sleep(Duration::from_secs(3600));
    }
    let name = "confine::tests::death::the_hosts_death_kills_its_helpers_whatever_they_do";
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(HOST, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let helper = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("helper ")?.parse().ok());
    let helper = helper.expect("the host says which helper it has");
    assert!(is_there(helper));
    host.kill().unwrap();
    host.wait().unwrap();
    wait_until_gone(helper);
}
