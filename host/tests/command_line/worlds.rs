//! Recorded worlds: the real thing once, then what it answered.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use super::home::Home;

/// A server that answers one request after another with these texts, and then is gone.
fn server(answers: &[&str]) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let serving = std::thread::spawn(move || {
        for body in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            connection.write_all(head.as_bytes()).unwrap();
            connection.write_all(body.as_bytes()).unwrap();
        }
    });
    (url, serving)
}

fn order(home: &Home, url: &str) {
    let event = json!({ "type": "test.order.v1", "data": { "url": url } });
    home.write("event.json", &event.to_string());
}

#[test]
fn what_servers_answered_is_answered_again_without_them() {
    let home = Home::bare();
    let (url, serving) = server(&["the answer"]);
    let asker = Home::guest("asker");
    let test = |more: &[&str]| {
        let grant = format!("{url}*");
        let args = [
            &["test", "--json", "--event", "event.json", "--allow-http", &grant],
            more,
            &[&asker],
        ]
        .concat();
        home.run(&args)
    };
    let report = |more: &[&str]| -> Value {
        let said = test(more);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    order(&home, &url);
    let real = report(&["--record", "world.json"]);
    assert_eq!(
        real["published"][0]["data"],
        json!({ "status": 200, "body": "the answer" })
    );
    serving.join().unwrap();
    let played = report(&["--world", "world.json"]);
    assert_eq!(played["published"], real["published"]);

    // What was not recorded has no answer, and the test says so.
    order(&home, &format!("{url}other"));
    let said = test(&["--world", "world.json"]);
    assert_eq!(said.code, 9);
    assert!(
        said.out
            .contains("the recorded world has no answer to this HTTP request"),
        "{said:?}"
    );
    // Nor does a recording grant anything.
    order(&home, "http://elsewhere.example/");
    let said = test(&["--world", "world.json"]);
    assert_eq!(said.code, 8);
    assert!(said.out.contains("NotGranted"), "{said:?}");
    home.write("world.json", r#"{ "http": [{ "asked": 1 }] }"#);
    let said = test(&["--world", "world.json"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("world.json: "), "{said:?}");
}

#[test]
fn what_git_answered_is_answered_again_without_the_repository() {
    let home = Home::bare();
    let git = |args: &[&str]| {
        let status = Command::new("git")
            .arg("-C")
            .arg(home.path())
            .args(args)
            .status()
            .unwrap();
        assert!(status.success());
    };
    git(&["init", "--quiet", "--initial-branch=main", "hello"]);
    git(&[
        "-C",
        "hello",
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.org",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "one",
    ]);
    let url = home.path().join("hello").display().to_string();
    let branch = format!("{url}#main");
    let poll = |how: &str| {
        home.json(&[
            "test",
            "--tick",
            "poll",
            how,
            "world.json",
            "watchbot",
            "--allow-git",
            &url,
            "--repository",
            &branch,
        ])
    };
    let real = poll("--record");
    assert_eq!(real["published"][0]["type"], "foundry.commit.v1");
    std::fs::remove_dir_all(&url).unwrap();
    let played = poll("--world");
    assert_eq!(played["published"][0]["data"], real["published"][0]["data"]);
}

#[test]
fn a_build_can_be_written_by_hand() {
    let home = Home::bare();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let asked = json!({ "url": "https://example.org/hello.git", "branch": "main", "commit": commit });
    let event = json!({
        "type": "foundry.commit.v1",
        "data": { "repository": asked["url"], "branch": "main", "ref": commit },
    });
    home.write("event.json", &event.to_string());
    let test = |build: Value| {
        let build = json!([{ "asked": { "commit": commit, "kind": "full" }, "answer": build["answer"], "error": build["error"] }]);
        let mut world = json!({
            "checkouts": [{ "asked": asked, "answer": { "summary": "One", "signature": { "trusted": "ABCD" } } }],
            "builds": build,
        });
        world["builds"][0]
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        home.write("world.json", &world.to_string());
        home.json(&["test", "--event", "event.json", "--world", "world.json", "buildbot"])
    };
    let report = test(json!({ "answer": {
        "source": "hello", "version": "1.0-1", "architecture": "amd64",
        "artifacts": [{ "name": "hello_1.0-1_amd64.deb", "content": "not really" }],
        "log": { "name": "hello.build", "media-type": "text/plain", "content": "built\n" },
    } }));
    assert_eq!(report["published"][0]["type"], "foundry.build.v1");
    assert_eq!(report["published"][0]["data"]["artifacts"][0]["size"], 10);
    let report = test(json!({ "error": { "failed": { "phase": "build", "reason": "make: *** [all] Error 1" } } }));
    assert_eq!(report["published"][0]["type"], "foundry.failure.v1");
    assert_eq!(report["published"][0]["data"]["phase"], "build");
}
