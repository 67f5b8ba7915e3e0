//! The page about several machines, command by command: each machine is a directory.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt::text;
use crate::farm::{architecture, free_port};
use crate::package::Repository;
use crate::page::code_blocks;
use crate::s3::S3Server;

const PAGE: &str = include_str!("../../docs/several-machines.md");

/// Around the page's commands: a shell for each machine, which are fed in turn, and end together with their hosts.
const PRELUDE: &str = r#"
set -euo pipefail
machine=head pids=()
cleanup() {
    for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid"; done
    for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || true; done
}
trap cleanup EXIT
scp() {
    local to=${!#}
    cp "${@:1:$#-1}" "$ROOT/${to%%.*}/${to#*:}"
}
on() { # machine
    machine=$1
    export HOME=$ROOT/$machine FOUNDRY_STATE=$ROOT/$machine/foundry/state
    mkdir -p "$HOME/foundry"
    cd "$HOME/foundry"
}
"#;

#[test]
fn the_page_about_several_machines_ends_in_a_published_package() {
    let root = tempfile::Builder::new().prefix("foundry-machines-").tempdir().unwrap();
    let root = root.path();
    let s3 = S3Server::with_bucket("foundry");
    let repository = Repository::new(root, "greeting");
    repository.version("1.0");
    let commit = repository.push("main");

    // What the page calls by the names of other machines is all on this one.
    let port = free_port().to_string();
    let page = PAGE
        .replace("https://s3.example.org", &s3.endpoint())
        .replace("https://git.example.org/greeting.git", &repository.url())
        .replace("0.0.0.0:8883", &format!("127.0.0.1:{port}"))
        .replace("head.example.org:8883", &format!("localhost:{port}"))
        .replace("DNS:head.example.org", "DNS:localhost")
        .replace("[\"amd64\"]", &format!("[{:?}]", architecture()))
        .replace("[broker.tls]", "[broker]\nlisten = \"127.0.0.1:0\"\n\n[broker.tls]");
    std::fs::create_dir(root.join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foundry-host"), root.join("bin/foundry-host")).unwrap();
    std::fs::write(root.join("page.sh"), script(&page, root)).unwrap();

    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .arg(root.join("page.sh"))
        .current_dir(root)
        .env_clear()
        .envs([
            ("PATH", path.as_str()),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ])
        .env("ROOT", root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let log = |machine: &str| std::fs::read_to_string(root.join(machine).join("foundry/host.log")).unwrap_or_default();
    let said = format!(
        "{out}{err}\nthe head said:\n{}\nthe builder said:\n{}\nthe second builder said:\n{}",
        log("head"),
        log("builder"),
        log("builder-2")
    );
    assert!(output.status.success(), "{said}");
    assert!(out.contains(&commit) && out.contains("status      published"), "{said}");
    // It was the builder that built, and its list of bots that the head showed.
    assert!(out.contains("builder/build"), "{said}");
    // Not the keys, which name the group.
    let is_of_the_second = |line: &&str| line.contains(" buildbot ") && line.contains("builder-2");
    assert_eq!(out.lines().filter(is_of_the_second).count(), 1, "{said}");
    // Each host knew the others, and nobody said what he may not.
    let hosts = ["head", "builder", "builder-2"];
    for refusal in ["REFUSED", "refused a message", "cannot hear", "bound to no host"] {
        assert!(hosts.iter().all(|host| !log(host).contains(refusal)), "{said}");
    }
    assert!(
        root.join("head/foundry/repository/dists/stable/InRelease").exists(),
        "{said}"
    );
    // Packages went through the bucket, and through nothing else.
    for machine in hosts {
        assert!(!root.join(machine).join("foundry/state/artifacts").exists(), "{said}");
    }
}

/// The page's commands, in their order, each on its machine; its files where they expect them.
fn script(page: &str, root: &Path) -> String {
    let mut script = PRELUDE.to_owned();
    for (kind, block) in code_blocks(page) {
        match kind.split_once(' ') {
            Some(("toml", "s3.toml")) => {
                for machine in ["head", "builder", "builder-2"] {
                    let file = root.join(machine).join("foundry/s3.toml");
                    write(&file, block);
                    only_for_its_owner(&file);
                }
            }
            Some(("toml", machine)) => write(&root.join(machine).join("foundry/foundry.toml"), block),
            Some(("sh", rest)) => {
                let (machine, terminal) = rest
                    .split_once(' ')
                    .map_or((rest, false), |(machine, _)| (machine, true));
                writeln!(script, "on {machine}").unwrap();
                if terminal {
                    let command = block.trim().replacen("foundry-host", "exec foundry-host", 1);
                    writeln!(script, "{{ {command}; }} >host.log 2>&1 &\npids+=($!)").unwrap();
                    script.push_str("until foundry-host status | grep 'status   ready'; do kill -0 \"${pids[-1]}\"; sleep 0.2; done\n");
                } else {
                    script.push_str(block);
                }
            }
            _ => panic!("nothing is known of blocks of {kind:?}"),
        }
    }
    script
}

fn write(file: &Path, content: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
}

fn only_for_its_owner(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
