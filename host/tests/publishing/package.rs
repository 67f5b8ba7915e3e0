//! Packages, built by dpkg-deb.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A binary package that is to be built.
#[derive(Clone)]
pub struct Deb {
    name: String,
    version: String,
    architecture: String,
    compression: &'static str,
    content: String,
    fields: String,
    file: Option<String>,
    installer: bool,
    program: Option<String>,
    description: String,
}

impl Deb {
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            compression: "gzip",
            content: format!("{name} {version}\n"),
            fields: String::new(),
            file: None,
            installer: false,
            program: None,
            description: "a test\n of publishing".to_owned(),
        }
    }

    /// As `dpkg-deb -Z` names them.
    pub fn compression(mut self, compression: &'static str) -> Self {
        self.compression = compression;
        self
    }

    /// What its only file says, so that its bytes are others.
    pub fn content(mut self, content: &str) -> Self {
        self.content = content.to_owned();
        self
    }

    /// More lines for its control file.
    pub fn fields(mut self, fields: &str) -> Self {
        self.fields = fields.to_owned();
        self
    }

    /// Another file name than its own.
    pub fn file(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// What it says of itself, as its control file has it.
    pub fn description(mut self, description: &str) -> Self {
        self.description = description.to_owned();
        self
    }

    /// A .udeb.
    pub fn installer(mut self) -> Self {
        self.installer = true;
        self
    }

    /// A shell script, as the program of its name.
    pub fn program(mut self, script: &str) -> Self {
        self.program = Some(script.to_owned());
        self
    }

    /// Build it into a directory.
    pub fn build(&self, directory: &Path) -> PathBuf {
        let root = tempfile::tempdir().unwrap();
        let share = root.path().join("usr/share").join(&self.name);
        std::fs::create_dir_all(root.path().join("DEBIAN")).unwrap();
        std::fs::create_dir_all(&share).unwrap();
        std::fs::write(share.join("content"), &self.content).unwrap();
        if let Some(script) = &self.program {
            let program = root.path().join("usr/bin").join(&self.name);
            std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Test <test@example.org>\n{}Description: {}\n",
            self.name, self.version, self.architecture, self.fields, self.description
        );
        std::fs::write(root.path().join("DEBIAN/control"), control).unwrap();
        let file = self.file.clone().unwrap_or_else(|| {
            let version = self
                .version
                .split_once(':')
                .map_or(self.version.as_str(), |(_, rest)| rest);
            let extension = if self.installer { "udeb" } else { "deb" };
            format!("{}_{version}_{}.{extension}", self.name, self.architecture)
        });
        let built = directory.join(file);
        run(Command::new("dpkg-deb")
            .args([
                "--root-owner-group",
                "--uniform-compression",
                "-Z",
                self.compression,
                "--build",
            ])
            .arg(root.path())
            .arg(&built));
        built
    }
}

/// Build a source package; returns its files, the .dsc last.
pub fn source(directory: &Path, name: &str, upstream: &str, revision: &str) -> Vec<PathBuf> {
    let tree = directory.join(format!("{name}-{upstream}"));
    std::fs::create_dir_all(tree.join("debian/source")).unwrap();
    let orig = format!("{name}_{upstream}.orig.tar.gz");
    if !directory.join(&orig).exists() {
        std::fs::write(tree.join("hello"), "hello\n").unwrap();
        run(Command::new("tar").current_dir(directory).args([
            "--exclude",
            "debian",
            "-czf",
            &orig,
            &format!("{name}-{upstream}"),
        ]));
    }
    let write = |file: &str, text: &str| std::fs::write(tree.join("debian").join(file), text).unwrap();
    write("source/format", "3.0 (quilt)\n");
    write("rules", "#!/usr/bin/make -f\n%:\n\tdh $@\n");
    write(
        "control",
        &format!(
            "Source: {name}\nMaintainer: Test <test@example.org>\nSection: misc\nPriority: optional\nStandards-Version: 4.6.2\n\n\
             Package: {name}\nArchitecture: all\nDescription: a test\n of sources\n"
        ),
    );
    write(
        "changelog",
        &format!(
            "{name} ({upstream}-{revision}) unstable; urgency=low\n\n  * {revision}\n\n -- Test <test@example.org>  Mon, 23 Nov 2026 \
             09:00:00 +0000\n"
        ),
    );
    run(Command::new("dpkg-source")
        .current_dir(directory)
        .arg("--build")
        .arg(&tree));
    [
        orig,
        format!("{name}_{upstream}-{revision}.debian.tar.xz"),
        format!("{name}_{upstream}-{revision}.dsc"),
    ]
    .map(|file| directory.join(file))
    .to_vec()
}

/// Run a program that has to succeed; returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
