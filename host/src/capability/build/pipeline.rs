//! The phases of a build, in their order.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::cgroup::Group;
use super::collect::{self, Bounds, Refused};
use super::error::{Attempt as _, BuildError};
use super::job::{Job, Place};
use super::log::Log;
use super::package::SourcePackage;
use super::request::{Artifact, BuildKind, BuildReport, BuildRequest, Observer, Phase};
use super::scratch::Scratch;
use super::seccomp;
use super::stage::{FILTER, Stage};
use super::tree;
use super::usage::{self, Disk};

/// Makes an upstream tarball from the tree.
const MAKE_UPSTREAM: &str = include_str!("make-upstream.sh");

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
    let stop = || token.is_cancelled();
    let mut job = begin(shared, request, &stop, observer)?;
    let outcome = job.build();
    let path = job.log_path();
    let finished = job.log.finish().attempt("write", path);
    let report = outcome?;
    finished?;
    Ok(report)
}

/// A build of which nothing is done yet.
pub(super) fn begin<'a>(
    shared: &'a Shared,
    request: &'a BuildRequest,
    stop: &'a dyn Fn() -> bool,
    observer: Box<dyn Observer>,
) -> Result<Job<'a>, BuildError> {
    let begun = Instant::now();
    if let Some(why) = request.fault() {
        return Err(BuildError::BadRequest { why });
    }
    let stage = Stage::new(&shared.state, &shared.machine, shared.settings.build_id);
    let scratch = Scratch::create(&shared.state.join("builds"), stage.keeper)?;
    let log_path = request.output.join("build.log");
    let log = Log::create(&log_path, request.limits.log, observer).attempt("create", &log_path)?;
    Ok(Job {
        shared,
        request,
        stop,
        group: Group::create(&scratch.group_name(), &request.limits),
        disk: Disk::watch(Job::written(scratch.path()), request.limits.disk, stage.keeper),
        stage,
        deadline: begun + request.limits.wall_time,
        scratch,
        log,
        phase: Phase::Prepare,
        times: Vec::new(),
    })
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
        let (architectures, artifacts) = self.timed(Phase::Collect, |job| job.collect(&package))?;
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
            log: self.log_path(),
            backend: place.backend,
            phases: std::mem::take(&mut self.times),
        })
    }

    /// Copies the tree into its place, and makes the files around it.
    pub fn prepare(&mut self) -> Result<SourcePackage, BuildError> {
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
            // The source package is looked for in there before anything runs.
            fs::set_permissions(&build, fs::Permissions::from_mode(0o755)).attempt("change", &build)?;
            self.stage.keeper.give(&[build, tmp], owner)?;
        }
        let architecture = request.architecture.as_deref();
        let architecture = architecture.or(self.shared.machine.architecture.as_deref());
        scratch.file(FILTER, seccomp::filter(architecture))?;
        scratch.file("hosts", "127.0.0.1 localhost foundry-build\n::1 localhost\n")?;
        Ok(package)
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
}

impl Job<'_> {
    /// Takes what the build says that it has made. No process of it is left.
    fn collect(&mut self, package: &SourcePackage) -> Result<(Vec<String>, Vec<Artifact>), BuildError> {
        let (request, from) = (self.request, self.scratch.path().join("build"));
        self.stage.keeper.take_back(&from)?;
        let bounds = Bounds {
            limit: request.limits.disk,
            free: usage::room(&request.output).attempt("look at", &request.output)?,
        };
        collect::collect(&from, &request.output, package, request.kind, bounds).map_err(|refused| {
            let tail = self.log.tail();
            match refused {
                Refused::Wrong(why) => BuildError::BadResult { why, tail },
                Refused::Full => BuildError::DiskLimit {
                    limit: bounds.limit,
                    host_full: true,
                    tail,
                },
            }
        })
    }
}

/// The directory that a source package unpacks to by custom, and whose name some builds look at.
pub(super) fn tree_name(package: &SourcePackage) -> String {
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
