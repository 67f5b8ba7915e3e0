//! One build from beginning to end, on its own thread.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::cgroup::Group;
use super::changes;
use super::error::{Attempt as _, BuildError, Exit, Unavailable};
use super::log::Log;
use super::machine;
use super::package::SourcePackage;
use super::request::{Backend, BuildKind, BuildReport, BuildRequest, Observer, Phase, PhaseTime};
use super::sandbox::{self, BUILD_USER, BuildSandbox, Root};
use super::scratch::Scratch;
use super::stage::{Overlay, Role, Stage, StageError};
use super::supervise::{self, Ended, Watch};
use super::tree;
use super::usage::Disk;

/// Makes an upstream tarball from the tree, the same bytes whenever the files are the same: arguments are the
/// tarball's stem and the name of its only directory. The time is a constant, since a later revision of the package
/// must come with the same tarball.
const MAKE_UPSTREAM: &str = "\
tar --create --file \"../$1.tar\" --sort=name --format=gnu --mtime=@946684800 \
    --owner=root:0 --group=root:0 --mode=u=rwX,go=rX \
    --anchored --exclude=./debian --transform \"s,^\\.,$2,rSh\" .
xz -T1 -6 \"../$1.tar\"";

/// Lists the source package with the binary packages that dpkg-buildpackage has made; the argument is the stem of
/// the build's file names.
const LIST_EVERYTHING: &str = "\
stem=\"../$1_$(dpkg-architecture -qDEB_HOST_ARCH)\"
dpkg-genbuildinfo --build=full \"-O$stem.buildinfo\"
dpkg-genchanges --build=full -sa \"-O$stem.changes\"";

/// Runs a build.
pub(super) fn build(
    shared: &Shared,
    request: &BuildRequest,
    token: &CancellationToken,
    observer: Box<dyn Observer>,
) -> Result<BuildReport, BuildError> {
    let begun = Instant::now();
    if let Some(why) = request.fault() {
        return Err(BuildError::BadRequest { why });
    }
    let scratch = Scratch::create(&shared.settings.state.join("builds"))?;
    let log_path = request.output.join("build.log");
    let log = Log::create(&log_path, request.limits.log, observer).attempt("create", &log_path)?;
    let name = scratch
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut job = Job {
        shared,
        request,
        stop: &|| token.is_cancelled(),
        group: Group::create(&format!("foundry-{name}"), &request.limits),
        disk: Disk::watch(
            vec![scratch.path().join("build"), scratch.path().join("tmp")],
            request.limits.disk,
        ),
        stage: Stage::new(&shared.settings.state, &shared.machine, shared.settings.build_id),
        deadline: begun + request.limits.wall_time,
        scratch,
        log,
        phase: Phase::Prepare,
        times: Vec::new(),
    };
    let outcome = job.build();
    let finished = job.log.finish().attempt("write", &log_path);
    let report = outcome?;
    finished?;
    Ok(report)
}

/// A running build.
struct Job<'a> {
    shared: &'a Shared,
    request: &'a BuildRequest,
    stop: &'a dyn Fn() -> bool,
    // Before the scratch directory: a group is removed when its processes are gone, files after that.
    group: Group,
    disk: Disk,
    stage: Stage,
    deadline: Instant,
    scratch: Scratch,
    log: Log,
    phase: Phase,
    times: Vec<PhaseTime>,
}

/// Where the commands of a build run.
struct Place {
    backend: Backend,
    root: Root,
    overlays: Vec<Overlay>,
    /// The tree, as seen in the sandbox.
    tree: String,
}

impl Job<'_> {
    fn build(&mut self) -> Result<BuildReport, BuildError> {
        let request = self.request;
        let package = self.timed(Phase::Prepare, Self::prepare)?;
        let place = self.timed(Phase::Dependencies, |job| job.provide(&package))?;
        if request.kind.has_source() {
            self.timed(Phase::Source, |job| job.make_source(&package, &place))?;
        }
        if request.kind.has_binaries() {
            self.timed(Phase::Build, |job| job.make_binaries(&package, &place))?;
        }
        let (architectures, artifacts) = self.timed(Phase::Collect, |job| {
            let from = job.scratch.path().join("build");
            changes::collect(&from, &request.output, &package, request.kind, request.limits.disk).map_err(|why| {
                BuildError::BadResult {
                    why,
                    tail: job.log.tail(),
                }
            })
        })?;
        Ok(BuildReport {
            source: package.name.clone(),
            version: package.version.as_str().to_owned(),
            distribution: package.distribution.clone(),
            architecture: request
                .architecture
                .clone()
                .or_else(|| self.shared.machine.architecture.clone())
                .unwrap_or_default(),
            architectures,
            artifacts,
            log: request.output.join("build.log"),
            backend: place.backend,
            phases: std::mem::take(&mut self.times),
        })
    }

    fn timed<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Self) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let begun = Instant::now();
        self.phase = phase;
        self.note_phase(phase)?;
        let result = work(self)?;
        self.times.push(PhaseTime {
            phase,
            duration: begun.elapsed(),
        });
        if (self.stop)() {
            Err(BuildError::Cancelled)
        } else {
            Ok(result)
        }
    }

    fn note_phase(&mut self, phase: Phase) -> Result<(), BuildError> {
        self.log
            .phase(phase)
            .attempt("write", self.request.output.join("build.log"))
    }

    /// Copies the tree into its place, and makes the files around it.
    fn prepare(&mut self) -> Result<SourcePackage, BuildError> {
        let request = self.request;
        let scratch = &self.scratch;
        if self.stage.owner().is_some() {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).attempt("change", scratch.path())?;
        }
        let (build, tmp) = (scratch.dir("build")?, scratch.dir("tmp")?);
        let copied = build.join("tree");
        tree::copy(&request.source, &copied, request.limits.disk, self.stop)?;
        tree::overlay(&copied, &request.files)?;
        let package = tree::describe(&copied)?;
        let named = build.join(tree_name(&package));
        fs::rename(&copied, &named).attempt("rename", &copied)?;
        copy_upstream(&request.upstream, &build, &package)?;
        if let Some(owner) = self.stage.owner() {
            give(&build, owner)?;
            give(&tmp, owner)?;
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let user = format!("build:x:{BUILD_USER}:{BUILD_USER}:build:/nonexistent:/bin/sh");
        let group = format!("build:x:{BUILD_USER}:");
        scratch.file("passwd", &sandbox::accounts(&read("/etc/passwd"), &user))?;
        scratch.file("group", &sandbox::accounts(&read("/etc/group"), &group))?;
        scratch.file("hosts", "127.0.0.1 localhost foundry-build\n::1 localhost\n")?;
        Ok(package)
    }

    /// Finds a root in which the build dependencies are there.
    fn provide(&mut self, package: &SourcePackage) -> Result<Place, BuildError> {
        let tree = format!("/build/{}", tree_name(package));
        if let Some(why) = self.host_root_fault() {
            return Err(BuildError::NoBackend {
                tried: vec![Unavailable {
                    backend: Backend::HostRoot,
                    why,
                }],
            });
        }
        let place = Place {
            backend: Backend::HostRoot,
            root: Root::host(&self.shared.settings.state),
            overlays: Vec::new(),
            tree,
        };
        if self.request.kind.has_binaries() {
            self.check_dependencies(&place)?;
        }
        Ok(place)
    }

    /// Why this machine's own root can't serve the request.
    fn host_root_fault(&self) -> Option<String> {
        let machine = &self.shared.machine;
        let differs = |asked: &Option<String>, own: &Option<String>, what: &str| {
            let asked = asked.as_ref()?;
            let own = own.as_deref().unwrap_or("of no name");
            (asked != own).then(|| format!("the build is for {what} {asked}, and this machine is {own}"))
        };
        differs(&self.request.suite, &machine.codename, "the suite")
            .or_else(|| differs(&self.request.architecture, &machine.architecture, "the architecture"))
            .or_else(machine::sandbox_fault)
            .or_else(machine::packaging_fault)
    }

    fn check_dependencies(&mut self, place: &Place) -> Result<(), BuildError> {
        let mut command = vec!["dpkg-checkbuilddeps"];
        match self.request.kind {
            BuildKind::Any => command.push("-B"),
            BuildKind::All => command.push("-A"),
            _ => {}
        }
        match self.run(place, &command) {
            Err(BuildError::Failed { tail, .. }) => {
                let missing = self.log.recent().rev().find_map(unmet).unwrap_or_default();
                Err(BuildError::Dependencies { missing, tail })
            }
            other => other,
        }
    }

    fn make_source(&mut self, package: &SourcePackage, place: &Place) -> Result<(), BuildError> {
        if let Some(stem) = package.upstream_stem()
            && !has_upstream(&self.scratch.path().join("build"), &stem)?
        {
            self.shell(place, MAKE_UPSTREAM, &[&stem, &tree_name(package)])?;
        }
        if self.request.kind.has_binaries() {
            self.run(place, &["dpkg-source", "-b", "."])
        } else {
            self.run(
                place,
                &[
                    "dpkg-buildpackage",
                    "-us",
                    "-uc",
                    "-d",
                    "-nc",
                    "--build=source",
                    "--changes-option=-sa",
                ],
            )
        }
    }

    fn make_binaries(&mut self, package: &SourcePackage, place: &Place) -> Result<(), BuildError> {
        let kind = match self.request.kind {
            // The source package is made already.
            BuildKind::Full => BuildKind::Binary,
            other => other,
        };
        let kind = format!("--build={}", kind.dpkg_name());
        self.run(place, &["dpkg-buildpackage", "-us", "-uc", "-d", &kind])?;
        if self.request.kind == BuildKind::Full {
            self.shell(place, LIST_EVERYTHING, &[&package.file_stem()])?;
        }
        Ok(())
    }

    fn shell(&mut self, place: &Place, script: &str, arguments: &[&str]) -> Result<(), BuildError> {
        let mut command = vec!["sh", "-e", "-u", "-c", script, "sh"];
        command.extend(arguments);
        self.run(place, &command)
    }

    /// Runs a command of the build in its sandbox.
    fn run(&mut self, place: &Place, command: &[&str]) -> Result<(), BuildError> {
        let inside = |name: &str| self.stage.inside(&self.scratch.path().join(name));
        let limits = &self.request.limits;
        let sandbox = BuildSandbox {
            root: &place.root,
            build: &inside("build"),
            tmp: &inside("tmp"),
            passwd: &inside("passwd"),
            group: &inside("group"),
            hosts: &inside("hosts"),
            directory: &place.tree,
            environment: &sandbox::environment(
                self.shared.settings.jobs.unwrap_or(self.shared.machine.cpus),
                self.request.source_date_epoch,
            ),
            processes: limits.processes,
            file_size: limits.disk,
        };
        let waiting = self
            .stage
            .start(Role::Builder, &place.overlays, &[], &sandbox.command(command))
            .map_err(|error| stage_failed(error, place.backend))?;
        let mut watch = Watch {
            group: &self.group,
            memory: limits.memory,
            disk: &mut self.disk,
            deadline: self.deadline,
            stop: self.stop,
        };
        let outcome = supervise::run(waiting, &mut self.log, &mut watch);
        self.judge(outcome)
    }

    /// Says in the terms of a build how a sandbox ended.
    fn judge(&mut self, outcome: Result<std::process::ExitStatus, Ended>) -> Result<(), BuildError> {
        let limits = &self.request.limits;
        let status = match outcome {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status,
            Err(Ended::Cancelled) => return Err(BuildError::Cancelled),
            Err(Ended::Io(source)) => {
                return Err(BuildError::Io {
                    doing: "watch over",
                    path: "the sandbox".into(),
                    source,
                });
            }
            Err(why) => {
                // The log file says why it ends here, too.
                let _ = self.log.finish();
                let tail = self.log.tail();
                return Err(match why {
                    Ended::OutOfMemory => BuildError::MemoryLimit {
                        limit: limits.memory,
                        tail,
                    },
                    Ended::OutOfDisk { host_full } => BuildError::DiskLimit {
                        limit: limits.disk,
                        host_full,
                        tail,
                    },
                    _ => BuildError::TimedOut {
                        phase: self.phase,
                        limit: limits.wall_time,
                        tail,
                    },
                });
            }
        };
        let _ = self.log.finish();
        let tail = self.log.tail();
        let prevented = self.group.prevented();
        Err(if prevented.memory {
            BuildError::MemoryLimit {
                limit: limits.memory,
                tail,
            }
        } else if prevented.fork {
            BuildError::ProcessLimit {
                limit: limits.processes,
                tail,
            }
        } else {
            BuildError::Failed {
                phase: self.phase,
                exit: Exit::from(status),
                tail,
            }
        })
    }
}

/// The directory that a source package unpacks to by custom, and whose name some builds look at.
fn tree_name(package: &SourcePackage) -> String {
    format!("{}-{}", package.name, package.version.upstream_and_revision().0)
}

/// Copies the caller's upstream tarballs beside the tree.
fn copy_upstream(files: &[PathBuf], build: &Path, package: &SourcePackage) -> Result<(), BuildError> {
    let (upstream, _) = package.version.upstream_and_revision();
    let stem = format!("{}_{upstream}.orig", package.name);
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(&stem).unwrap_or_default();
        if !(rest.starts_with(".tar.") || rest.starts_with('-') && rest.contains(".tar.")) {
            return Err(BuildError::BadRequest {
                why: format!("the upstream tarball {} is not named {stem}.tar.*", file.display()),
            });
        }
        fs::copy(file, build.join(name)).attempt("copy", file)?;
    }
    Ok(())
}

fn has_upstream(build: &Path, stem: &str) -> Result<bool, BuildError> {
    let start = format!("{stem}.tar.");
    for entry in fs::read_dir(build).attempt("read", build)? {
        let name = entry.attempt("read", build)?.file_name();
        if name.to_string_lossy().starts_with(&start) && !name.to_string_lossy().ends_with(".asc") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes somebody the owner of a tree, links themselves included.
fn give(top: &Path, owner: u32) -> Result<(), BuildError> {
    let mut pending = vec![top.to_owned()];
    while let Some(dir) = pending.pop() {
        lchown(&dir, Some(owner), Some(owner)).attempt("change", &dir)?;
        for entry in fs::read_dir(&dir).attempt("read", &dir)? {
            let entry = entry.attempt("read", &dir)?;
            if entry.file_type().attempt("read", entry.path())?.is_dir() {
                pending.push(entry.path());
            } else {
                lchown(entry.path(), Some(owner), Some(owner)).attempt("change", entry.path())?;
            }
        }
    }
    Ok(())
}

fn stage_failed(error: StageError, backend: Backend) -> BuildError {
    match error {
        StageError::Io(doing, path, source) => BuildError::Io { doing, path, source },
        StageError::Said(why) => BuildError::NoBackend {
            tried: vec![Unavailable { backend, why }],
        },
    }
}

/// The dependencies that dpkg-checkbuilddeps complains of: `a b (>= 1) c | d`, one by one.
fn unmet(line: &str) -> Option<Vec<String>> {
    let list = line.strip_prefix("dpkg-checkbuilddeps: error: Unmet build dependencies: ")?;
    let mut found: Vec<String> = Vec::new();
    let (mut depth, mut joined) = (0_usize, false);
    for word in list.split_whitespace() {
        match found.last_mut() {
            Some(last) if depth > 0 || joined || word == "|" || word.starts_with('(') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
        joined = word == "|";
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmet_dependencies_are_told_apart() {
        let line = "dpkg-checkbuilddeps: error: Unmet build dependencies: a b:native (>= 1) c (<< 2~) | d e";
        assert_eq!(unmet(line).unwrap(), ["a", "b:native (>= 1)", "c (<< 2~) | d", "e"]);
        assert_eq!(unmet("something else"), None);
    }
}
