//! A private apt, and a web server for it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// An apt with its own sources, lists, cache and status, that trusts the key of one repository.
pub struct Apt {
    root: tempfile::TempDir,
}

impl Apt {
    /// Of a suite at a URI. The key is the one that the repository offers.
    pub fn new(uri: &str, suite: &str, repository: &Path) -> Self {
        Self::with(&format!(
            "Types: deb deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {}\n",
            repository.join("key.asc").display()
        ))
    }

    /// With these sources, in the deb822 format.
    pub fn with(sources: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let apt = Self { root };
        for directory in ["lib/lists/partial", "cache/archives/partial", "work"] {
            std::fs::create_dir_all(apt.path(directory)).unwrap();
        }
        std::fs::write(apt.path("status"), "").unwrap();
        std::fs::write(apt.path("test.sources"), sources).unwrap();
        apt
    }

    /// Of a suite in a local directory.
    pub fn local(repository: &Path, suite: &str) -> Self {
        Self::new(&format!("file:{}", repository.display()), suite, repository)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Run one of apt's programs.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let option = |name: &str, path: &str| format!("{name}={}", self.path(path).display());
        let options = [
            option("Dir::Etc::SourceList", "test.sources"),
            option("Dir::Etc::SourceParts", "none"),
            option("Dir::Etc::Parts", "none"),
            option("Dir::State", "lib"),
            option("Dir::State::Status", "status"),
            option("Dir::Cache", "cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=0".to_owned(),
        ];
        Command::new(program)
            .env("LC_ALL", "C")
            .current_dir(self.path("work"))
            .args(options.iter().flat_map(|option| ["-o", option.as_str()]))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Run one of apt's programs, which has to succeed without a word of warning.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let (said, warned) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && !warned.contains("W:") && !warned.contains("E:"),
            "{program} {arguments:?} failed:\n{said}{warned}"
        );
        said
    }

    /// Run one of apt's programs, which has to fail; returns why.
    pub fn refuse(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let warned = text(&output.stderr);
        assert!(
            !output.status.success(),
            "{program} {arguments:?} succeeded:\n{}{warned}",
            text(&output.stdout)
        );
        warned
    }

    pub fn update(&self) {
        self.run("apt-get", &["update", "--error-on=any"]);
    }

    /// Update what apt-file reads as well.
    pub fn update_with_contents(&self) {
        // What apt-file installs for every apt of a machine.
        let conf = "/etc/apt/apt.conf.d/50apt-file.conf";
        let mut arguments = vec![
            "-c",
            conf,
            "-o",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=true",
        ];
        arguments.extend(["update", "--error-on=any"]);
        self.run("apt-get", &arguments);
    }

    /// Run apt-file; finding nothing is no failure.
    pub fn apt_file(&self, arguments: &[&str]) -> String {
        let conf = self.path("apt-file.conf");
        std::fs::write(
            &conf,
            format!(
                "#include \"/etc/apt/apt.conf.d/50apt-file.conf\";\nDir::Etc::SourceList \"{0}/test.sources\";\nDir::Etc::SourceParts \
                 \"none\";\nDir::State \"{0}/lib\";\nDir::State::Status \"{0}/status\";\nDir::Cache \"{0}/cache\";\n\
                 APT::Architecture \"amd64\";\n",
                self.root.path().display()
            ),
        )
        .unwrap();
        let output = Command::new("apt-file")
            .env("APT_CONFIG", &conf)
            .env("LC_ALL", "C")
            .args(arguments)
            .output()
            .unwrap();
        // One is for nothing found.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        text(&output.stdout)
    }

    /// Every version of every package that apt knows, as `name=version`, sorted.
    pub fn knows(&self) -> Vec<String> {
        // Those that it would install come from apt-cache; all of them only from what it downloaded.
        let lists = std::fs::read_dir(self.path("lib/lists"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let lists = lists.filter(|list| list.to_string_lossy().contains("_Packages"));
        let lists: Vec<_> = lists.map(|list| list.display().to_string()).collect();
        let mut arguments = vec!["cat-file"];
        arguments.extend(lists.iter().map(String::as_str));
        let dump = self.run("/usr/lib/apt/apt-helper", &arguments);
        let value = |line: &str, field: &str| line.strip_prefix(field).map(str::to_owned);
        let names = dump.lines().filter_map(|line| value(line, "Package: "));
        let versions = dump.lines().filter_map(|line| value(line, "Version: "));
        let mut known: Vec<_> = names
            .zip(versions)
            .map(|(name, version)| format!("{name}={version}"))
            .collect();
        known.sort();
        known
    }

    /// Download a package and unpack it with dpkg-deb; returns what its file says.
    pub fn content(&self, package: &str) -> String {
        self.run("apt-get", &["download", package]);
        let root = self.path("root");
        for file in std::fs::read_dir(self.path("work")).unwrap() {
            let file = file.unwrap().path();
            super::package::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&root));
            std::fs::remove_file(file).unwrap();
        }
        let name = package.split_once('=').map_or(package, |(name, _)| name);
        std::fs::read_to_string(root.join("usr/share").join(name).join("content")).unwrap()
    }

    /// The directory that it downloads to.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }
}

/// Python's web server on a directory, and what it was asked for.
pub struct Web {
    server: Child,
    log: PathBuf,
    _directory: tempfile::TempDir,
    port: u16,
}

impl Web {
    pub fn serve(repository: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(repository)
            .arg("0")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // "Serving HTTP on 127.0.0.1 port 35463 (http://127.0.0.1:35463/) ..."
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.split_whitespace().nth(5).unwrap().parse().unwrap();
        Self {
            server,
            log,
            _directory: directory,
            port,
        }
    }

    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The paths that it was asked for and had.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines()
            .filter(|line| line.contains("\" 200 "))
            .filter_map(|line| line.split_once("GET ")?.1.split(' ').next().map(str::to_owned))
            .collect()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
