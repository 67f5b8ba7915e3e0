//! Hostile code in every kind of sandbox tries what it can, wherever the host keeps its state.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::super::job::Job;
use super::super::package::SourcePackage;
use super::super::pipeline::begin;
use super::super::{Backend, Silent};
use super::fixture::Sample;
use super::repository::Repository;

const PROBES: &str = include_str!("probes.pl");

/// Where hosts keep their state: system users, add-ons, services, people, nowhere in particular, and among programs.
const PARENTS: [&str; 7] = ["/var/lib", "/opt", "/srv", "/home", "/tmp", "/usr/local", "/usr/share"];

/// The places, for a test that can't make them itself.
const PLACES: &str = "FOUNDRY_TEST_PLACES";

/// A user's home with all that a host and its user have in it, and what of it listens.
pub struct Place {
    home: PathBuf,
    // Before the directory that it is over.
    _mounted: Option<Mounted>,
    _dir: Option<TempDir>,
    socket: PathBuf,
    abstract_name: String,
    server: TcpListener,
    _sockets: [UnixListener; 2],
}

impl Place {
    /// One that is left to whoever made it.
    fn of(home: &Path, dir: Option<TempDir>) -> Self {
        for (name, text) in [
            ("foundry/keys/key.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----"),
            ("foundry/broker/owner.password", "the owner's password"),
            ("foundry.toml", "password = \"of the broker elsewhere\""),
            (".ssh/id_ed25519", "the private key for git"),
            (".netrc", "machine git.example.org password secret"),
        ] {
            let path = home.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let socket = home.join("S.gpg-agent");
        let _ = fs::remove_file(&socket);
        let abstract_name = format!("foundry-test-{}", home.display());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            home: home.to_owned(),
            _mounted: None,
            _dir: dir,
            _sockets: [
                UnixListener::bind(&socket).unwrap(),
                UnixListener::bind_addr(&address).unwrap(),
            ],
            socket,
            abstract_name,
            server: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// A new one below `parent`, which all may enter, as homes of system users are.
    fn below(parent: &str) -> Self {
        let (dir, home) = directory(parent);
        Self::of(&home, Some(dir))
    }

    /// A new one on a file system of its own.
    fn on_a_mount() -> Self {
        let (dir, home) = directory("/mnt");
        let mounted = Mounted::over(&home);
        let mut place = Self::of(&home, Some(dir));
        place._mounted = Some(mounted);
        place
    }

    /// Those of the environment, or all kinds of new ones.
    fn all() -> Vec<Self> {
        if let Ok(homes) = std::env::var(PLACES) {
            return homes.split(':').map(|home| Self::of(Path::new(home), None)).collect();
        }
        if !rustix::process::getuid().is_root() {
            return vec![Self::below("/tmp")];
        }
        let parents = PARENTS.iter().filter(|parent| Path::new(parent).is_dir());
        parents
            .map(|parent| Self::below(parent))
            .chain([Self::on_a_mount()])
            .collect()
    }

    /// Has a sample built by a host with its state here, whose user has his home here.
    fn lends(&self, sample: &mut Sample) {
        sample.shared_state = Some(self.home.join("foundry/build"));
        sample.home = Some(self.home.clone());
    }

    /// The probes as a program.
    fn program(&self, stage: &str) -> String {
        let home = self.home.display();
        let private = [
            "foundry",
            "foundry/keys/key.asc",
            "foundry/broker/owner.password",
            "foundry.toml",
            ".ssh",
            ".ssh/id_ed25519",
            ".netrc",
            "",
        ];
        let private: String = private.iter().map(|name| format!("'{home}/{name}', ")).collect();
        let marker = std::env::current_exe().unwrap();
        format!(
            "#!/usr/bin/perl\nour $stage = '{stage}';\nour @private = ({private});\nour $socket = '{}';\nour $abstract = '{}';\nour $port = {};\nour $marker = '{}';\n{PROBES}",
            self.socket.display(),
            self.abstract_name,
            self.server.local_addr().unwrap().port(),
            marker.display(),
        )
    }
}

fn directory(parent: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new()
        .prefix("foundry-test-")
        .tempdir_in(parent)
        .unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// Homes of a user's, until they are dropped: below every kind of parent, and on a file system of its own.
pub struct Homes {
    // Before the directory that it is over.
    mounted: Mounted,
    dirs: Vec<TempDir>,
}

impl Homes {
    pub fn of(user: u32) -> Self {
        let parents = PARENTS.iter().filter(|parent| Path::new(parent).is_dir());
        let mut dirs: Vec<TempDir> = parents.map(|parent| directory(parent).0).collect();
        let (dir, home) = directory("/mnt");
        let mounted = Mounted::over(&home);
        dirs.push(dir);
        for dir in &dirs {
            chown(dir.path(), Some(user), Some(user)).unwrap();
        }
        Self { mounted, dirs }
    }

    /// The variable that names them.
    pub fn variable(&self) -> (&'static str, String) {
        let names: Vec<String> = self.dirs.iter().map(|dir| dir.path().display().to_string()).collect();
        assert!(names.contains(&self.mounted.0.display().to_string()));
        (PLACES, names.join(":"))
    }
}

/// A file system in memory, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn over(home: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "none"])
            .arg(home)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(home.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Sockets in it may be open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Nothing was reached, and everything was tried. Prints a line of the table that `docs/testing.md` tells of.
fn assert_refused(stage: &str, log: &str, at_least: usize, place: &Place) {
    let reached: Vec<&str> = log.lines().filter(|line| line.starts_with("REACHED")).collect();
    assert_eq!(reached, Vec::<&str>::new(), "{}", place.home.display());
    let refused = log.lines().filter(|line| line.starts_with("refused ")).count();
    let user = rustix::process::getuid().as_raw();
    println!(
        "{stage:<10} user {user:<6} {:<40} {refused} refused",
        place.home.display()
    );
    assert!(
        refused >= at_least && log.contains("all probes done"),
        "{refused} probes\n{log}"
    );
}

#[test]
fn a_build_reaches_nothing_of_the_host_wherever_its_state_is() {
    for place in Place::all() {
        // Tests of a package run where it is built, by its own rules.
        let mut sample = Sample::running("@perl debian/build.pl\n@perl debian/test.pl");
        for stage in ["build", "test"] {
            sample.file(&format!("debian/{stage}.pl"), place.program(stage));
        }
        place.lends(&mut sample);
        sample.build().unwrap();
        let log = sample.log();
        let (build, test) = log.split_once("all probes done").unwrap();
        assert_refused("build", &format!("{build}all probes done"), 120, &place);
        assert_refused("test", test, 120, &place);
    }
}

/// Does something in a sample's build, of which only the package has been read.
fn in_a_job(sample: &Sample, work: impl FnOnce(&mut Job<'_>, &SourcePackage)) {
    let (builder, request) = (sample.builder(), sample.request());
    let mut job = begin(&builder.shared, &request, &|| false, Box::new(Silent)).unwrap();
    let package = job.prepare().unwrap();
    work(&mut job, &package);
    job.log.finish().unwrap();
}

#[test]
fn making_the_source_package_reaches_nothing_of_the_host_wherever_its_state_is() {
    for place in Place::all() {
        let mut sample = Sample::running("");
        sample.file("debian/source.pl", place.program("source"));
        place.lends(&mut sample);
        in_a_job(&sample, |job, package| {
            let at = job.provide(package).unwrap();
            job.run(&at, &["perl", "debian/source.pl"]).unwrap();
        });
        assert_refused("source", &sample.log(), 120, &place);
    }
}

#[test]
fn a_packages_script_reaches_nothing_of_a_host_with_its_state_where_system_users_have_it() {
    packages_script_reaches_nothing(|| ["/var/lib", "/opt"].map(Place::below));
}

#[test]
fn a_state_among_programs_is_refused_where_packages_would_be_laid_over_them() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let place = Place::below("/usr/share");
    let mut sample = Sample::running("");
    sample.backend = Some(Backend::HostRootLayered);
    place.lends(&mut sample);
    let error = sample.build().unwrap_err().to_string();
    assert!(error.contains("choose another state directory with --state"), "{error}");
}

#[test]
fn a_packages_script_reaches_nothing_of_a_host_with_its_state_where_services_or_people_have_it() {
    packages_script_reaches_nothing(|| ["/srv", "/home"].map(Place::below));
}

#[test]
fn a_packages_script_reaches_nothing_of_a_host_with_its_state_elsewhere() {
    packages_script_reaches_nothing(|| [Place::below("/tmp"), Place::on_a_mount()]);
}

fn packages_script_reaches_nothing<const N: usize>(places: impl FnOnce() -> [Place; N]) {
    if !rustix::process::getuid().is_root() {
        return;
    }
    for place in places() {
        let repository = Repository::with_script("foundry-test-dependency", &place.program("install"));
        let mut sample = Sample::running("@true");
        sample.control("Build-Depends: foundry-test-dependency");
        sample.limits.wall_time = Duration::from_secs(300);
        sample.backend = Some(Backend::HostRootLayered);
        place.lends(&mut sample);
        let mut request = sample.request();
        request.repositories = vec![repository.source()];
        request.keyrings = vec![repository.keyring("right")];
        sample.build_with(request, Default::default()).unwrap();
        assert_refused("install", &sample.log(), 100, &place);
    }
}

#[test]
fn making_a_root_reaches_nothing_of_the_host_wherever_its_state_is() {
    for place in Place::all() {
        let mut sample = Sample::running("");
        place.lends(&mut sample);
        in_a_job(&sample, |job, _| {
            // The program comes where mmdebstrap would find its sources.
            job.prepare_bootstrap(&place.program("bootstrap")).unwrap();
            job.run_bootstrap(&["perl".into(), "/mirrors.sources".into()]).unwrap();
        });
        assert_refused("bootstrap", &sample.log(), 80, &place);
    }
}

/// Makes a root in the directory that is its argument, with perl alone in it: the sandbox of those who install is the same over a
/// root of thousands of files, which takes minutes to make.
const SMALL_ROOT: &str = "\
set -eu
umask 022
cd \"$1\"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 usr/share etc/apt opt var/lib/dpkg var/lib/apt
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
cp -L /usr/bin/perl usr/bin/
cp --parents -r /usr/lib/*/perl-base .
find usr/lib -name '*.so' | xargs ldd /usr/bin/perl | grep -o '/[^ :]*' | grep '\\.so' | sort -u | while read -r library; do
    case $library in \"$PWD\"/*|usr/*) ;; /*) [ ! -f \"$library\" ] || cp -L --parents \"$library\" . ;; esac
done
for file in hosts resolv.conf passwd group; do : >etc/$file; done
";

#[test]
fn a_packages_script_in_a_root_of_its_own_reaches_nothing_of_the_host_wherever_its_state_is() {
    for place in Place::all() {
        let mut sample = Sample::running("");
        place.lends(&mut sample);
        in_a_job(&sample, |job, _| {
            let small = job.state("roots").join("small");
            fs::create_dir(&small).unwrap();
            let made = Command::new("sh")
                .args(["-c", SMALL_ROOT, "sh"])
                .arg(&small)
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            fs::write(small.join("usr/share/probes.pl"), place.program("install")).unwrap();
            job.install_for_probes(&small, &["perl", "/usr/share/probes.pl"])
                .unwrap();
        });
        assert_refused("install", &sample.log(), 100, &place);
    }
}
