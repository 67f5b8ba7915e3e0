//! A small APT repository with real signatures, served over HTTP on the loopback interface.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub struct Repository {
    dir: TempDir,
    pub address: SocketAddr,
}

impl Repository {
    /// A repository with one package, whose only program has its name. Two keys exist, `right` and `wrong`; it is
    /// signed by the right one.
    pub fn with_package(name: &str) -> Self {
        Self::with_script(name, "#!/bin/sh\n")
    }

    /// The same, whose package runs a script when it is installed.
    pub fn with_script(name: &str, postinst: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let repository = Self {
            address: listener.local_addr().unwrap(),
            dir,
        };
        let site = repository.path("site");
        repository.package(name, postinst, &site);

        let packages = repository.run("dpkg-scanpackages", &["--multiversion", "."], &site);
        fs::write(site.join("Packages"), &packages).unwrap();
        let digest = hex::encode(Sha256::digest(&packages));
        let release = format!(
            "Origin: test\nDate: Tue, 01 Jul 2025 12:00:00 UTC\nSHA256:\n {digest} {} Packages\n",
            packages.len()
        );
        fs::write(site.join("Release"), release).unwrap();
        for key in ["right", "wrong"] {
            let user = format!("{key}@example.org");
            repository.gpg(&[
                "--passphrase",
                "",
                "--quick-generate-key",
                &user,
                "ed25519",
                "sign",
                "never",
            ]);
            let exported = repository.gpg(&["--armor", "--export", &user]);
            fs::write(repository.keyring(key), exported).unwrap();
        }
        let (release, signed) = (site.join("Release"), site.join("InRelease"));
        repository.gpg(&[
            "--local-user",
            "right@example.org",
            "--clearsign",
            "--output",
            signed.to_str().unwrap(),
            release.to_str().unwrap(),
        ]);
        std::thread::spawn(move || serve(&listener, &site));
        repository
    }

    /// The line that names it.
    pub fn source(&self) -> String {
        format!("deb http://{}/ ./", self.address)
    }

    pub fn keyring(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.asc"))
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn package(&self, name: &str, postinst: &str, site: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let tree = self.path("package");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let program = tree.join("usr/bin").join(name);
        let script = tree.join("DEBIAN/postinst");
        for (path, text) in [
            (program, "#!/bin/sh\necho came from the repository\n"),
            (script, postinst),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.run(
            "dpkg-deb",
            &["--root-owner-group", "--build", tree.to_str().unwrap(), "."],
            site,
        );
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        use std::os::unix::fs::PermissionsExt as _;
        let home = self.path("gnupg");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let mut all = vec![
            "--homedir",
            home.to_str().unwrap(),
            "--batch",
            "--pinentry-mode",
            "loopback",
        ];
        all.extend(arguments);
        self.run("gpg", &all, self.dir.path())
    }

    fn run(&self, program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let home = self.dir.path().join("gnupg");
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", home)
            .args(["--kill", "all"])
            .status();
    }
}

/// A server that redirects whatever it is asked for to another, and its address. It ends with the test's process.
pub fn redirecting_to(other: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || redirect(stream, other));
        }
    });
    address
}

fn redirect(mut stream: TcpStream, other: SocketAddr) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    loop {
        let first = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let path = first.split(' ').nth(1)?;
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{other}{path}\r\nContent-Length: 0\r\n\r\n"
        )
        .ok()?;
    }
}

fn serve(listener: &TcpListener, site: &Path) {
    for stream in listener.incoming().flatten() {
        let site = site.to_owned();
        std::thread::spawn(move || answer(stream, &site));
    }
}

/// Answers the requests of one connection.
fn answer(mut stream: TcpStream, site: &Path) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    loop {
        let first = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let path = first.split(' ').nth(1)?.trim_start_matches(['/', '.']).to_owned();
        let (status, body) = match fs::read(site.join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).ok()?;
        stream.write_all(&body).ok()?;
    }
}
