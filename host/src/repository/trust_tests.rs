//! Whose signatures an operator's program goes by: those of the suite's own keys, and of no others of the user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use apt_repository::operate::Changes;

use super::published_tests::Office;
use super::{Desk, Problem, Repository, RepositoryError};
use crate::keys::{KeyStore, PassphraseSource};

const ARCHIVE: &str = "archive@example.org";
const PACKAGES: &str = "packages@example.org";

/// A GnuPG ring with two keys of the user, one of which signs a repository.
struct Bench {
    office: Office,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::TempDir::with_prefix("fr").unwrap();
        let home = directory.path().join("gnupg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        for name in [ARCHIVE, PACKAGES] {
            gpg(&home, &["--quick-gen-key", name, "ed25519", "cert,sign", "0"]);
        }
        let keys = KeyStore::open(directory.path().join("keys"))
            .unwrap()
            .with_gnupg_home(home.clone());
        let archive = fingerprint(&home, ARCHIVE);
        let office = Office::of(keys, archive, tempfile::tempdir().unwrap());
        Self { office, directory }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("gnupg")
    }

    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    fn suite(&self) -> PathBuf {
        self.site().join("dists/testing")
    }

    /// What an operator's program does, maybe with `--gpg-key`.
    fn operate<T: Send + 'static>(
        &self,
        key: Option<&str>,
        work: impl FnOnce(&Desk) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let keys = KeyStore::open(self.directory.path().join("keys"))
            .unwrap()
            .with_gnupg_home(self.home());
        let key = key.map(ToOwned::to_owned);
        let repository = Repository::new(self.site(), keys, PassphraseSource::none(), key);
        self.office.runtime.block_on(repository.open(work))
    }

    fn check(&self) -> Vec<Problem> {
        self.operate(None, |desk| desk.check(None, false)).unwrap()
    }

    /// The other key signs what the `Release` says, with another origin.
    fn forge(&self, origin: &str) {
        let [signed, release, detached] = ["InRelease", "Release", "Release.gpg"].map(|name| self.suite().join(name));
        let text = fs::read_to_string(&release).unwrap();
        assert!(text.contains("Origin: test\n"));
        for path in [&signed, &release, &detached] {
            fs::remove_file(path).unwrap();
        }
        fs::write(&release, text.replace("Origin: test", &format!("Origin: {origin}"))).unwrap();
        for (how, path) in [("--clearsign", &signed), ("--detach-sign", &detached)] {
            let (path, release) = (path.to_str().unwrap(), release.to_str().unwrap());
            let args = ["--local-user", PACKAGES, "--armor", "--output", path, how, release];
            gpg(&self.home(), &args);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill
            .env("GNUPGHOME", self.home())
            .args(["--kill", "gpg-agent"])
            .status();
    }
}

fn gpg(home: &Path, args: &[&str]) -> String {
    let mut gpg = Command::new("gpg");
    gpg.env("GNUPGHOME", home)
        .args(["--batch", "--pinentry-mode", "loopback", "--passphrase", ""]);
    let output = gpg.args(args).output().unwrap();
    assert!(output.status.success(), "gpg {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fingerprint(home: &Path, name: &str) -> String {
    let listing = gpg(home, &["--with-colons", "--list-keys", name]);
    let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
    line.split(':').nth(9).unwrap().to_lowercase()
}

#[test]
fn another_key_of_the_users_ring_vouches_for_no_suite() {
    let bench = Bench::new();
    bench.office.change(&bench.site(), "testing", &Changes::new());
    assert_eq!(bench.check(), []);
    bench.forge("EVIL");

    let found: Vec<_> = bench.check().into_iter().map(|problem| problem.path).collect();
    for name in ["InRelease", "Release.gpg"] {
        assert!(found.contains(&format!("dists/testing/{name}")), "{name}: {found:?}");
    }
    let forged = fs::read(bench.suite().join("InRelease")).unwrap();
    for key in [None, Some(ARCHIVE)] {
        let refused = bench.operate(key, |desk| desk.repair("testing", false)).unwrap_err();
        assert!(matches!(refused, RepositoryError::Lost(_)), "{refused}");
        assert_eq!(fs::read(bench.suite().join("InRelease")).unwrap(), forged);
    }
}

#[test]
fn a_key_of_the_ring_that_signed_beside_the_suites_own_vouches_for_it() {
    let mut bench = Bench::new();
    bench.office.settings.older_keys = vec![fingerprint(&bench.home(), PACKAGES)];
    bench.office.change(&bench.site(), "testing", &Changes::new());
    bench.forge("test");
    assert_eq!(bench.check(), []);
}
