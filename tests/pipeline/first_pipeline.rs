//! The page that new users follow, command by command, as they would meet it on stock Debian and in a stricter place: their
//! home has mode 0700, their umask is 077, and apt fetches as a user of its own.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt::text;
use crate::farm::architecture;
use crate::page::code_blocks;

const PAGE: &str = include_str!("../../docs/first-pipeline.md");

/// The port that the page's web server has.
const PORT: &str = "8000";

/// Around the page's commands: what runs in terminals of its own ends with the script, and `apt` has a system of its own.
/// Started by root, it fetches as the user `_apt`, as apt always does.
const PRELUDE: &str = r#"
set -euo pipefail
umask 077
pids=()
cleanup() { for pid in "${pids[@]}"; do kill "$pid" || true; wait "$pid" || true; done; }
trap cleanup EXIT
eventually() { # COMMAND...
    until "$@" >/dev/null 2>&1; do kill -0 "${pids[-1]}"; sleep 0.2; done
}
apt() {
    local verb=$1
    shift
    [[ $verb != install ]] || set -- --download-only --yes "$@"
    apt-get -o "Dir::Etc=$PREFIX/etc/apt" -o "Dir::State=$PREFIX/lib" -o "Dir::State::Status=$PREFIX/lib/status" \
        -o "Dir::Cache=$PREFIX/cache" -o APT::Update::Error-Mode=any "$verb" "$@"
}
"#;

#[test]
fn the_page_for_new_users_ends_in_an_installed_package_with_a_closed_home() {
    let home = tempfile::Builder::new().prefix("foundry-page-").tempdir().unwrap();
    let home = home.path();
    std::fs::set_permissions(home, Permissions::from_mode(0o700)).unwrap();
    std::fs::create_dir_all(home.join("bin")).unwrap();
    std::fs::create_dir_all(home.join("pipeline")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foundry-host"), home.join("bin/foundry-host")).unwrap();
    // The system is not in anybody's home.
    let system = system();
    std::fs::write(home.join("page.sh"), script(home)).unwrap();

    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .arg(home.join("page.sh"))
        .current_dir(home)
        .env_clear()
        .envs([
            ("PATH", path.as_str()),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ])
        .env("HOME", home)
        .env("PREFIX", system.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let logs = ["pipeline/terminal-1.log", "pipeline/terminal-2.log"]
        .map(|log| std::fs::read_to_string(home.join(log)).unwrap_or_default());
    assert!(
        output.status.success(),
        "{out}{err}\nthe terminals said:\n{}",
        logs.join("\n")
    );
    assert_eq!(out.matches("status      published").count(), 2, "{out}");
    assert!(
        out.contains("status      failed") && out.contains("\nnot published\n"),
        "the version that was published before is refused: {out}"
    );
    let shown = PAGE.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    for said in shown.split('…') {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.contains(&said), "the page shows {said:?}, but:\n{out}");
    }
    assert!(!err.contains("unsandboxed"), "apt fetched as its own user: {err}");
    for version in ["1.0", "1.1"] {
        let package = system.path().join(format!("cache/archives/greeting_{version}_all.deb"));
        let content = Command::new("dpkg-deb").arg("--contents").arg(package).output();
        assert!(
            text(&content.unwrap().stdout).contains("./usr/bin/greeting"),
            "{out}{err}"
        );
    }
    // The umask shows nowhere in what is published, and what is private stays so.
    let pipeline = home.join("pipeline");
    assert_eq!(mode(&pipeline.join("state")), 0o700);
    check_modes(&pipeline.join("repository"));
}

/// A directory that others may enter, with what apt needs to begin with.
fn system() -> tempfile::TempDir {
    let system = tempfile::Builder::new().prefix("foundry-system-").tempdir().unwrap();
    let root = system.path();
    let directories = [
        "lib/lists/partial",
        "cache/archives/partial",
        "etc/apt/apt.conf.d",
        "etc/apt/keyrings",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "etc/apt/trusted.gpg.d",
    ];
    for directory in directories {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("lib/status"), "").unwrap();
    let all = Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(root).status();
    assert!(all.unwrap().success());
    system
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everybody can read what is published, and nobody else the records.
fn check_modes(directory: &Path) {
    assert_eq!(mode(directory), 0o755, "{}", directory.display());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("repository/.foundry") {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        } else if path.is_dir() {
            check_modes(&path);
        } else {
            assert_eq!(mode(&path), 0o644, "{}", path.display());
        }
    }
}

/// The page's commands, in their order, and its configuration where they expect it.
fn script(home: &Path) -> String {
    // Taken a little before it is used: another test could take it, with bad luck.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let with_port = |block: &str| block.replace(&format!("127.0.0.1:{PORT}"), &format!("127.0.0.1:{port}"));
    let mut script = PRELUDE.to_owned();
    let (mut blocks, mut terminals) = (0, 0);
    for (kind, block) in code_blocks(PAGE) {
        blocks += 1;
        match kind {
            "sh" => script.push_str(block),
            "toml" => {
                let arch = format!("arch = [\"{}\"]", architecture());
                let config = block.replace("arch = [\"amd64\"]", &arch) + "\n[broker]\nlisten = \"127.0.0.1:0\"\n";
                std::fs::write(home.join("pipeline/foundry.toml"), with_port(&config)).unwrap();
            }
            "sh terminal" => {
                terminals += 1;
                let command = block.trim();
                let (command, ready) = match command.strip_suffix(&format!(" {PORT}")) {
                    Some(server) => (
                        format!("{server} {port}"),
                        format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'"),
                    ),
                    None => (command.to_owned(), "foundry-host status".to_owned()),
                };
                write!(
                    script,
                    "{{ exec {command}; }} >terminal-{terminals}.log 2>&1 &\npids+=($!)\neventually {ready}\n"
                )
                .unwrap();
            }
            "sh root" => script
                .push_str(&with_port(&block.replace("/etc/apt/", "$PREFIX/etc/apt/")).replace("'SOURCES'", "SOURCES")),
            // What a command prints.
            "text" => {}
            other => panic!("nothing is known of blocks of {other:?}"),
        }
    }
    assert!(blocks > 5, "the page has hardly a command");
    script
}
