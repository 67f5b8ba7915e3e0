//! A private apt: its own sources, lists, cache and status, which trusts one key for one repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::farm::Farm;
use crate::package::run;

pub struct Apt {
    root: PathBuf,
}

impl Apt {
    /// An apt that knows a farm's repository, with `Signed-By`.
    pub fn new(farm: &Farm, suite: &str) -> Self {
        let key = run(farm.foundry().args(["key", "export", &farm.repository_key])) + "\n";
        Self::of(
            farm.path().join(format!("apt-{suite}")),
            &farm.repository(),
            &key,
            suite,
        )
    }

    /// An apt in a directory of its own that knows a repository and trusts its key.
    pub fn of(root: PathBuf, repository: &Path, trusted: &str, suite: &str) -> Self {
        for directory in ["etc", "parts", "lib/lists/partial", "cache/archives/partial", "root"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("lib/status"), "").unwrap();
        let key = root.join("etc/key.asc");
        std::fs::write(&key, trusted).unwrap();
        let sources = format!(
            "Types: deb deb-src\nURIs: file:{}\nSuites: {suite}\nComponents: main\nSigned-By: {}\n",
            repository.display(),
            key.display()
        );
        std::fs::write(root.join("etc/test.sources"), sources).unwrap();
        Self { root }
    }

    /// Run one of apt's programs.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let option = |name: &str, path: &str| format!("{name}={}", self.root.join(path).display());
        Command::new(program)
            .env("LC_ALL", "C")
            .current_dir(&self.root)
            .args(["-o", &option("Dir::Etc::SourceList", "etc/test.sources")])
            .args(["-o", &option("Dir::Etc::SourceParts", "parts")])
            .args(["-o", &option("Dir::State", "lib")])
            .args(["-o", &option("Dir::State::Status", "lib/status")])
            .args(["-o", &option("Dir::Cache", "cache")])
            .args([
                "-o",
                "APT::Sandbox::User=root",
                "-o",
                "Acquire::AllowInsecureRepositories=false",
            ])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Run one of apt's programs, which has to succeed without a warning.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && !err.contains("W:"),
            "{program} {arguments:?} failed:\n{out}{err}"
        );
        out
    }

    pub fn update(&self) {
        self.run("apt-get", &["update"]);
    }

    /// Download a package and unpack it; returns the directory.
    pub fn unpack(&self, package: &str) -> PathBuf {
        self.run("apt-get", &["download", package]);
        let root = self.root.join("root");
        for file in std::fs::read_dir(&self.root).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&root));
                std::fs::remove_file(file).unwrap();
            }
        }
        root
    }

    /// Forget everything that was downloaded.
    pub fn clean(&self) {
        for directory in ["lib/lists", "cache"] {
            std::fs::remove_dir_all(self.root.join(directory)).unwrap();
        }
        for directory in ["lib/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(self.root.join(directory)).unwrap();
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
