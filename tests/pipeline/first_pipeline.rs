//! The page that new users follow, command by command.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt::text;
use crate::farm::architecture;
use crate::page::code_blocks;

const PAGE: &str = include_str!("../../docs/first-pipeline.md");

/// Around the page's commands: the host ends with the script, and `apt` is one of its own, without root's rights.
const PRELUDE: &str = r#"
set -euo pipefail
cleanup() { if [[ -n ${host_pid-} ]]; then kill "$host_pid"; wait "$host_pid" || true; fi; }
trap cleanup EXIT
apt() {
    local verb=$1
    shift
    [[ $verb != install ]] || verb=download
    apt-get -o "Dir::Etc=$PREFIX/etc/apt" -o "Dir::State=$PREFIX/lib" -o "Dir::State::Status=$PREFIX/lib/status" \
        -o "Dir::Cache=$PREFIX/cache" -o APT::Sandbox::User=root "$verb" "$@"
}
"#;

#[test]
fn the_page_for_new_users_ends_in_an_installed_package() {
    let home = tempfile::Builder::new().prefix("foundry-page-").tempdir().unwrap();
    let home = home.path();
    for directory in [
        "bin",
        "pipeline",
        "prefix/lib/lists/partial",
        "prefix/cache/archives/partial",
    ] {
        std::fs::create_dir_all(home.join(directory)).unwrap();
    }
    for directory in [
        "apt.conf.d",
        "keyrings",
        "preferences.d",
        "sources.list.d",
        "trusted.gpg.d",
    ] {
        std::fs::create_dir_all(home.join("prefix/etc/apt").join(directory)).unwrap();
    }
    std::fs::write(home.join("prefix/lib/status"), "").unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foundry-host"), home.join("bin/foundry-host")).unwrap();
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
        .env("PREFIX", home.join("prefix"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let log = std::fs::read_to_string(home.join("pipeline/host.log")).unwrap_or_default();
    assert!(output.status.success(), "{out}{err}\nthe host said:\n{log}");
    assert!(out.contains("status      published"), "{out}");
    let package = home.join("pipeline/greeting_1.0_all.deb");
    let content = Command::new("dpkg-deb")
        .arg("--contents")
        .arg(package)
        .output()
        .unwrap();
    assert!(text(&content.stdout).contains("./usr/bin/greeting"), "{out}{err}");
}

/// The page's commands, in their order, and its configuration where they expect it.
fn script(home: &Path) -> String {
    let mut script = PRELUDE.to_owned();
    let mut blocks = 0;
    for (kind, block) in code_blocks(PAGE) {
        blocks += 1;
        match kind {
            "sh" => script.push_str(block),
            "toml" => {
                let arch = format!("arch = [\"{}\"]", architecture());
                let config = block.replace("arch = [\"amd64\"]", &arch) + "\n[broker]\nlisten = \"127.0.0.1:0\"\n";
                std::fs::write(home.join("pipeline/foundry.toml"), config).unwrap();
            }
            "sh terminal" => write!(
                script,
                "{{ {}; }} >host.log 2>&1 &\nhost_pid=$!\nuntil foundry-host status; do kill -0 $host_pid; sleep 0.2; done\n",
                block.trim().replacen("foundry-host", "exec foundry-host", 1)
            )
            .unwrap(),
            "sh root" => script.push_str(&block.replace("/etc/apt/", "$PREFIX/etc/apt/")),
            other => panic!("nothing is known of blocks of {other:?}"),
        }
    }
    assert!(blocks > 5, "the page has hardly a command");
    script
}
