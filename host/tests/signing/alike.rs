//! The same files and key give the same signed copies: on hosts that share nothing, with keys in the host's store or in the
//! GnuPG ring of its user, at any time.

use std::collections::BTreeMap;

use foundry_host::keys::Location;

use super::*;

/// What `built` writes into the changelog.
const SOURCE_TIME: u64 = 1_721_638_800;

/// Long before that.
const BEFORE: u64 = 1_700_000_000;

/// A GnuPG ring, whose agent ends with it.
pub struct Ring(tempfile::TempDir);

impl Ring {
    pub fn new() -> Self {
        // Short, so that the agent's socket fits.
        let directory = tempfile::TempDir::with_prefix("fr").unwrap();
        Self(directory)
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        gpg(self.0.path(), args, None)
    }

    /// A key that was made at a moment, and its secret part.
    fn key(&self, algorithm: &str, made: u64) -> (String, Vec<u8>) {
        self.make(algorithm, "", &["--faked-system-time", &format!("{made}!")])
    }

    /// A key with a passphrase.
    pub fn protected_key(&self, algorithm: &str, passphrase: &str) -> (String, Vec<u8>) {
        self.make(algorithm, passphrase, &[])
    }

    fn make(&self, algorithm: &str, passphrase: &str, options: &[&str]) -> (String, Vec<u8>) {
        let name = format!("Packages <{algorithm}@example.org>");
        let unlock = ["--passphrase", passphrase];
        let generate = ["--quick-generate-key", &name, algorithm, "cert,sign", "0"];
        self.gpg(&[options, &unlock, &generate].concat());
        let listing = String::from_utf8(self.gpg(&["--with-colons", "--list-keys", &name])).unwrap();
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_lowercase();
        let secret = self.gpg(&[&unlock[..], &["--export-secret-keys", &fingerprint]].concat());
        (fingerprint, secret)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        end_agent(self.0.path());
    }
}

pub fn end_agent(home: &Path) {
    let _ = Command::new("gpgconf")
        .env("GNUPGHOME", home)
        .args(["--kill", "gpg-agent"])
        .status();
}

fn gpg(home: &Path, args: &[&str], input: Option<&Path>) -> Vec<u8> {
    let mut gpg = Command::new("gpg");
    gpg.env("GNUPGHOME", home)
        .args(["--batch", "--pinentry-mode", "loopback"])
        .args(args);
    let output = gpg.args(input).output().unwrap();
    assert!(
        output.status.success(),
        "{gpg:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A host with nothing but this key, and signbot.
pub async fn fresh_host(fingerprint: &str, secret: &[u8], kept: Location) -> Bench {
    let directory = tempfile::TempDir::with_prefix("fh").unwrap();
    let home = directory.path().join("gnupg");
    match kept {
        Location::Store => {
            let store = KeyStore::open(directory.path().join("keys")).unwrap();
            store.import(secret, &[Role::Packages]).unwrap();
        }
        Location::Gnupg => {
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            let file = directory.path().join("secret");
            fs::write(&file, secret).unwrap();
            gpg(&home, &["--import"], Some(&file));
        }
    }
    let host = TestHost::start_in(directory).await;
    let key = keys(&host).find_any(fingerprint).unwrap();
    assert_eq!(key.location, kept);
    host.host.load(signbot(fingerprint)).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    Bench { host, key, files }
}

impl Bench {
    /// The names and bytes of the signed copies of a build.
    async fn sign(&self, id: &str, files: &[PathBuf]) -> BTreeMap<String, Vec<u8>> {
        self.announce(id, "master", files).await;
        let signed = self.result(id, "signs").await;
        let directory = self.download(&signed).await;
        let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
        files
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect()
    }

    /// When the signature of a clear-signed file says that it was made, as gpgv reads it.
    fn time_of(&self, document: &[u8]) -> u64 {
        let path = self.files.path().join("document");
        fs::write(&path, document).unwrap();
        let mut gpgv = Command::new("gpgv");
        gpgv.args(["--status-fd", "1", "--keyring"])
            .arg(self.keyring())
            .arg(path);
        let said = run(&mut gpgv);
        let (_, valid) = said.split_once("VALIDSIG ").unwrap();
        valid.split(' ').nth(2).unwrap().parse().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        end_agent(&self.host.directory.path().join("gnupg"));
    }
}

async fn two_hosts_with_fresh_state_sign_alike(algorithm: &str) {
    let ring = Ring::new();
    let (fingerprint, secret) = ring.key(algorithm, BEFORE);
    let build = tempfile::tempdir().unwrap();
    let files = built(build.path());
    let mut first: Option<BTreeMap<String, Vec<u8>>> = None;
    for kept in [Location::Store, Location::Store, Location::Gnupg, Location::Gnupg] {
        let bench = fresh_host(&fingerprint, &secret, kept).await;
        let signed = bench.sign("one", &files).await;
        // All six files, of which the tarball alone has no signature.
        assert_eq!(signed.len(), files.len());
        for (name, bytes) in &signed {
            let unsigned = fs::read(build.path().join(name)).unwrap();
            assert_eq!(*bytes == unsigned, name.ends_with(".tar.xz"), "{name}");
            if [".dsc", ".buildinfo", ".changes"]
                .iter()
                .any(|suffix| name.ends_with(suffix))
            {
                assert_eq!(bench.time_of(bytes), SOURCE_TIME, "{name}");
            }
            if [".deb", ".udeb"].iter().any(|suffix| name.ends_with(suffix)) {
                let path = bench.files.path().join(name);
                fs::write(&path, bytes).unwrap();
                debsig_verify(&bench, &path);
            }
        }
        match &first {
            None => first = Some(signed),
            Some(first) => {
                for (name, bytes) in first {
                    assert!(
                        signed[name] == *bytes,
                        "{name} differs, with the key in the {}",
                        kept.name()
                    );
                }
            }
        }
        // Another second of the clock for the next one.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_with_fresh_state_sign_alike_with_ed25519() {
    two_hosts_with_fresh_state_sign_alike("ed25519").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_with_fresh_state_sign_alike_with_rsa() {
    two_hosts_with_fresh_state_sign_alike("rsa3072").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_no_source_dates_are_dated_by_the_making_of_the_key() {
    let ring = Ring::new();
    let made = BEFORE + 1;
    let (fingerprint, secret) = ring.key("ed25519", made);
    let bench = fresh_host(&fingerprint, &secret, Location::Gnupg).await;
    let build = tempfile::tempdir().unwrap();
    let files = built(build.path());
    let path = ending(build.path(), ".changes");
    let changes = fs::read_to_string(&path).unwrap();
    let date = "Date: Mon, 22 Jul 2024 09:00:00 +0000";
    assert!(changes.contains(date), "{changes}");
    for (id, instead) in [
        ("future", "Date: Mon, 23 Nov 2099 09:00:00 +0000"),
        ("absurd", "Date: Mon, 23 Nov 99999999999999999999 09:00:00 +0000"),
        ("before-the-key", "Date: Thu, 01 Jan 2015 00:00:00 +0000"),
        (
            "twice",
            "Date: Mon, 22 Jul 2024 09:00:00 +0000\nDate: Mon, 22 Jul 2024 09:00:00 +0000",
        ),
        ("absent", "X-Date: Mon, 22 Jul 2024 09:00:00 +0000"),
    ] {
        fs::write(&path, changes.replace(date, instead)).unwrap();
        let signed = bench.sign(id, &files).await;
        let (_, dsc) = signed.iter().find(|(name, _)| name.ends_with(".dsc")).unwrap();
        assert_eq!(bench.time_of(dsc), made, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_newer_than_the_source_signs_as_of_its_making() {
    let ring = Ring::new();
    let made = SOURCE_TIME + 3600;
    let (fingerprint, secret) = ring.key("ed25519", made);
    let bench = fresh_host(&fingerprint, &secret, Location::Store).await;
    let build = tempfile::tempdir().unwrap();
    let signed = bench.sign("newer", &built(build.path())).await;
    let (_, changes) = signed.iter().find(|(name, _)| name.ends_with(".changes")).unwrap();
    assert_eq!(bench.time_of(changes), made);
    let deb = bench.files.path().join("signed.deb");
    fs::write(&deb, &signed["hello_1.0_all.deb"]).unwrap();
    debsig_verify(&bench, &deb);
}
