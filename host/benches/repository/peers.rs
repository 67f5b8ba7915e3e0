//! What people use today, each with a repository and a GnuPG key of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::contender::Contender;
use crate::measure::{Cost, run};

const DESCRIPTION: &str = "Origin: Bench\nLabel: Bench\nCodename: stable\nArchitectures: amd64\nComponents: main\n";

/// Packages on one command line, which has its limits.
const COMMAND: usize = 10_000;

fn gnupg(directory: &Path) -> PathBuf {
    let home = directory.join("gnupg");
    fs::create_dir(&home).unwrap();
    run(Command::new("chmod").arg("700").arg(&home));
    run(Command::new("gpg").env("GNUPGHOME", &home).args([
        "--batch",
        "--passphrase",
        "",
        "--quick-generate-key",
        "bench@example.org",
        "ed25519",
        "sign",
    ]));
    home
}

/// The agent would outlive its directory.
fn end_agent(home: &Path) {
    let _ = Command::new("gpgconf")
        .env("GNUPGHOME", home)
        .args(["--kill", "gpg-agent"])
        .status();
}

pub struct Reprepro {
    directory: TempDir,
    gnupg: PathBuf,
}

impl Reprepro {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gnupg = gnupg(directory.path());
        fs::create_dir(directory.path().join("conf")).unwrap();
        fs::write(
            directory.path().join("conf/distributions"),
            format!("{DESCRIPTION}SignWith: bench@example.org\n"),
        )
        .unwrap();
        Self { directory, gnupg }
    }
}

impl Contender for Reprepro {
    fn add(&mut self, packages: &[PathBuf]) -> Cost {
        let commands = packages.len().div_ceil(COMMAND);
        let include = |(number, packages): (usize, &[PathBuf])| {
            // The indices once, after the last of them.
            let export = if number + 1 < commands { "never" } else { "changed" };
            run(Command::new("reprepro")
                .env("GNUPGHOME", &self.gnupg)
                .args(["--silent", "--export", export, "--basedir"])
                .arg(self.directory.path())
                .args(["includedeb", "stable"])
                .args(packages))
        };
        packages
            .chunks(COMMAND)
            .enumerate()
            .map(include)
            .fold(Cost::default(), Cost::then)
    }
}

impl Drop for Reprepro {
    fn drop(&mut self) {
        end_agent(&self.gnupg);
    }
}

pub struct Aptly {
    directory: TempDir,
    gnupg: PathBuf,
    published: bool,
}

impl Aptly {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gnupg = gnupg(directory.path());
        let root = directory.path().join("aptly");
        fs::write(
            directory.path().join("aptly.conf"),
            serde_json::json!({ "rootDir": root, "architectures": ["amd64"], "gpgProvider": "gpg" }).to_string(),
        )
        .unwrap();
        let aptly = Self {
            directory,
            gnupg,
            published: false,
        };
        run(aptly
            .command()
            .args(["repo", "create", "-distribution=stable", "bench"]));
        aptly
    }

    fn command(&self) -> Command {
        let mut command = Command::new("aptly");
        command
            .env("GNUPGHOME", &self.gnupg)
            .arg("-config")
            .arg(self.directory.path().join("aptly.conf"));
        command
    }
}

impl Contender for Aptly {
    fn add(&mut self, packages: &[PathBuf]) -> Cost {
        let added = packages
            .chunks(COMMAND)
            .map(|packages| run(self.command().args(["repo", "add", "bench"]).args(packages)))
            .fold(Cost::default(), Cost::then);
        let publish: &[&str] = if self.published {
            &["publish", "update", "-batch", "stable"]
        } else {
            &["publish", "repo", "-batch", "bench"]
        };
        self.published = true;
        added.then(run(self.command().args(publish)))
    }
}

impl Drop for Aptly {
    fn drop(&mut self) {
        end_agent(&self.gnupg);
    }
}

/// apt-ftparchive with its cache, and gpg: the shell scripts of many archives.
pub struct FtpArchive {
    directory: TempDir,
    gnupg: PathBuf,
}

impl FtpArchive {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gnupg = gnupg(directory.path());
        let root = directory.path();
        for path in ["pool", "cache", "dists/stable/main/binary-amd64"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let quoted = |path: &str| format!("\"{}\"", root.join(path).display());
        fs::write(
            root.join("apt.conf"),
            format!(
                "Dir {{ ArchiveDir {}; CacheDir {}; }};\nDefault::Packages::Compress \". gzip\";\nBinDirectory \"pool\" {{ \
                 Packages \"dists/stable/main/binary-amd64/Packages\"; BinCacheDB \"packages.db\"; }};\n",
                quoted("."),
                quoted("cache")
            ),
        )
        .unwrap();
        Self { directory, gnupg }
    }
}

impl Contender for FtpArchive {
    fn add(&mut self, packages: &[PathBuf]) -> Cost {
        let root = self.directory.path();
        let pool = root.join("pool");
        let copied = packages
            .chunks(COMMAND)
            .map(|packages| run(Command::new("cp").arg("-t").arg(&pool).args(packages)))
            .fold(Cost::default(), Cost::then);
        let script = "apt-ftparchive generate apt.conf && apt-ftparchive -o APT::FTPArchive::Release::Codename=stable release \
                      dists/stable >Release && mv Release dists/stable/Release && gpg --batch --yes --output \
                      dists/stable/InRelease --clear-sign dists/stable/Release";
        copied.then(run(Command::new("sh")
            .env("GNUPGHOME", &self.gnupg)
            .current_dir(root)
            .args(["-ec", script])))
    }
}

impl Drop for FtpArchive {
    fn drop(&mut self) {
        end_agent(&self.gnupg);
    }
}
