//! Small source packages, and a builder to try them on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::{
    Artifact, ArtifactKind, Backend, BuildError, BuildKind, BuildReport, BuildRequest, Builder, Limits, Settings,
    Silent,
};

/// A source package under construction, and where it is built.
pub struct Sample {
    top: TempDir,
    name: &'static str,
    pub limits: Limits,
    pub kind: BuildKind,
    /// A directory that several samples share, for layers and roots; by default each has its own.
    pub shared_state: Option<PathBuf>,
    pub backend: Option<Backend>,
    /// The home of the host's user.
    pub home: Option<PathBuf>,
}

/// debian/rules of a package that does in `binary` what `script` says, without debhelper.
pub fn rules(script: &str) -> String {
    let script: String = script.lines().map(|line| format!("\t{line}\n")).collect();
    format!(
        "#!/usr/bin/make -f\nclean:\nbuild-arch build-indep: build\nbuild:\n{script}binary-indep:\nbinary: binary-arch\n{ASSEMBLE}"
    )
}

/// Makes an empty package with dpkg-deb alone: takes 0.2 s where debhelper takes 2.
const ASSEMBLE: &str = "\
binary-arch: build
\tmkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/demo
\tdate -u -d @$(SOURCE_DATE_EPOCH) > debian/tmp/usr/share/demo/date
\tdpkg-gencontrol -pdemo
\tdpkg-deb --root-owner-group --build debian/tmp ..
.PHONY: clean build build-arch build-indep binary binary-arch binary-indep
";

impl Sample {
    /// A native package named `demo` of version 1.0, whose build runs `script`.
    pub fn running(script: &str) -> Self {
        Self::new("demo", "1.0", "3.0 (native)", &rules(script))
    }

    /// A package of the given version and format.
    pub fn new(name: &'static str, version: &str, format: &str, rules: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        let sample = Self {
            top,
            name,
            limits: Limits {
                wall_time: Duration::from_secs(60),
                memory: 1 << 30,
                disk: 256 << 20,
                processes: 256,
                log: 1 << 20,
            },
            kind: BuildKind::Full,
            shared_state: None,
            backend: None,
            home: None,
        };
        fs::create_dir(sample.output()).unwrap();
        sample.file("debian/source/format", format!("{format}\n"));
        sample.file(
            "debian/control",
            format!(
                "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: Test <test@example.org>\nRules-Requires-Root: no\nStandards-Version: 4.6.2\n\nPackage: {name}\nArchitecture: any\nDescription: a test\n A test.\n"
            ),
        );
        sample.changelog(version);
        sample.file("debian/rules", rules);
        sample.executable("debian/rules");
        sample
    }

    pub fn changelog(&self, version: &str) {
        self.file(
            "debian/changelog",
            format!(
                "{} ({version}) unstable; urgency=medium\n\n  * Test.\n\n -- Test <test@example.org>  Tue, 01 Jul 2025 12:00:00 +0000\n",
                self.name
            ),
        );
    }

    /// Adds a line to the source's paragraph of debian/control.
    pub fn control(&self, line: &str) {
        let path = self.tree().join("debian/control");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replacen("\n\n", &format!("\n{line}\n\n"), 1)).unwrap();
    }

    pub fn tree(&self) -> PathBuf {
        self.top.path().join("tree")
    }

    pub fn output(&self) -> PathBuf {
        self.top.path().join("output")
    }

    pub fn state(&self) -> PathBuf {
        self.shared_state
            .clone()
            .unwrap_or_else(|| self.top.path().join("state"))
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn executable(&self, path: &str) {
        fs::set_permissions(self.tree().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn request(&self) -> BuildRequest {
        BuildRequest {
            limits: self.limits.clone(),
            kind: self.kind,
            ..BuildRequest::new(self.tree(), self.output())
        }
    }

    pub fn builder(&self) -> Builder {
        let settings = Settings {
            backend: self.backend,
            ..Settings::default()
        };
        Builder::at(&self.state(), self.home.as_deref(), settings).unwrap()
    }

    /// Builds, and checks that nothing of it is left.
    pub fn build(&self) -> Result<BuildReport, BuildError> {
        self.build_with(self.request(), CancellationToken::new())
    }

    pub fn build_with(&self, request: BuildRequest, cancel: CancellationToken) -> Result<BuildReport, BuildError> {
        let builder = self.builder();
        let result = run(async { builder.run(request, cancel, Silent).await });
        self.assert_nothing_left();
        result
    }

    /// No process, no mount, no control group, no file.
    pub fn assert_nothing_left(&self) {
        let builds = self.state().join("builds");
        let left: Vec<_> = fs::read_dir(&builds)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let builds = builds.to_str().unwrap();
        assert_eq!(processes_with(builds), Vec::<String>::new());
        assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(builds));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.output().join("build.log")).unwrap()
    }
}

/// The processes that were started by these words.
pub fn pids_of(words: &[&str]) -> Vec<u32> {
    let line: String = words.iter().map(|word| format!("{word}\0")).collect();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let found = fs::read(dir.join("cmdline")).ok()? == line.as_bytes();
            found.then(|| dir.file_name()?.to_str()?.parse().ok()).flatten()
        })
        .collect()
}

/// The processes whose command line or environment mentions a text.
pub fn processes_with(text: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(text).then_some(line)
        })
        .collect()
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn names(report: &BuildReport) -> Vec<&str> {
    let mut names: Vec<&str> = report.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    names.sort_unstable();
    names
}

pub fn artifact(report: &BuildReport, kind: ArtifactKind) -> &Artifact {
    report.artifacts.iter().find(|artifact| artifact.kind == kind).unwrap()
}

/// A file's text out of a .deb.
pub fn in_deb(deb: &Path, member: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -xO \"$2\"", "sh"])
        .args([deb.as_os_str(), member.as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
