//! A running build: what all of its phases share, and how a command of it is run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use super::Shared;
use super::cgroup::Group;
use super::error::{Attempt as _, BuildError, Exit, Unavailable};
use super::lease::Lock;
use super::log::Log;
use super::request::{Backend, BuildRequest, Phase, PhaseTime};
use super::sandbox::{self, BuildSandbox, Purpose, Root, View};
use super::scratch::Scratch;
use super::stage::{FILTER, Launch, Overlay, Role, Stage, StageError, words};
use super::supervise::{self, Ended, Watch};
use super::usage::Disk;

/// A running build.
pub(super) struct Job<'a> {
    pub shared: &'a Shared,
    pub request: &'a BuildRequest,
    pub stop: &'a dyn Fn() -> bool,
    // Before the scratch directory: a group is removed when its processes are gone, files after that.
    pub group: Group,
    pub disk: Disk,
    pub stage: Stage,
    pub deadline: Instant,
    pub scratch: Scratch,
    pub log: Log,
    pub phase: Phase,
    pub times: Vec<PhaseTime>,
}

/// Where the commands of a build run.
pub(super) struct Place {
    pub backend: Backend,
    pub root: Root,
    /// The tree, as seen in the sandbox.
    pub tree: String,
    /// Keeps the layer or root from being removed while it is used.
    #[expect(dead_code, reason = "held for its effect")]
    pub leases: Vec<Lock>,
}

/// Where packages are installed.
pub(super) struct Target<'a> {
    pub backend: Backend,
    /// The root, with the layer that takes them.
    pub root: &'a Root,
    /// Where packages of its sources are kept once they are fetched.
    pub archives: &'a Path,
}

impl Job<'_> {
    /// Does the work of one phase, and takes its time.
    pub fn timed<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Self) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let begun = Instant::now();
        self.phase = phase;
        self.log.phase(phase).attempt("write", self.log_path())?;
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

    /// Where the log goes.
    pub fn log_path(&self) -> PathBuf {
        self.request.output.join("build.log")
    }

    /// A directory below the state directory.
    pub fn state(&self, name: &str) -> PathBuf {
        self.shared.state.join(name)
    }

    /// Runs a command of the build in its sandbox.
    pub fn run(&mut self, place: &Place, command: &[&str]) -> Result<(), BuildError> {
        let limits = &self.request.limits;
        let jobs = self.shared.settings.jobs.unwrap_or(self.shared.machine.cpus);
        let inside = |path: &Path| self.stage.inside(path);
        let sandbox = BuildSandbox {
            view: self.view(&place.root, &inside, Path::new("")),
            directory: &place.tree,
            environment: &sandbox::environment(jobs, self.request.source_date_epoch),
            processes: limits.processes,
            file_size: limits.disk,
        };
        let words = sandbox.command(command);
        let overlays = place.root.overlays(&self.scratch.path().join("merged"));
        self.chain(place.backend, Role::Builder, &overlays, &[], &words)
    }

    /// Runs a shell script of ours in the sandbox of the build.
    pub fn shell(&mut self, place: &Place, script: &str, arguments: &[&str]) -> Result<(), BuildError> {
        let mut command = vec!["sh", "-e", "-u", "-c", script, "sh"];
        command.extend(arguments);
        self.run(place, &command)
    }

    /// Runs a command that fetches packages for the root's layer, or installs them into it.
    pub fn install(&mut self, to: &Target<'_>, purpose: Purpose, command: &[String]) -> Result<(), BuildError> {
        let scratch = self.scratch.path();
        let inside = |path: &Path| self.stage.inside(path);
        let mut sandbox = sandbox::install_sandbox(&self.view(to.root, &inside, to.archives), purpose);
        sandbox.extend(words(command));
        let overlays = to
            .root
            .changing_overlays(&scratch.join("work"), &scratch.join("merged"));
        let environment = sandbox::install_environment(purpose.has_network());
        self.chain(to.backend, Role::of(to.backend), &overlays, &environment, &sandbox)
    }

    /// What a sandbox of this build is put together from.
    pub fn view<'a>(&'a self, root: &'a Root, inside: &'a dyn Fn(&Path) -> PathBuf, archives: &'a Path) -> View<'a> {
        View {
            root,
            scratch: self.scratch.path(),
            archives,
            private: &self.shared.private,
            inside,
        }
    }

    /// Runs a sandbox to its end.
    pub fn chain(
        &mut self,
        backend: Backend,
        role: Role,
        overlays: &[Overlay],
        environment: &[(OsString, OsString)],
        sandbox: &[OsString],
    ) -> Result<(), BuildError> {
        let launch = Launch {
            role,
            overlays,
            environment,
            filter: &self.scratch.path().join(FILTER),
            sandbox,
        };
        let waiting = self.stage.start(&launch).map_err(|error| {
            // What has worked before may not work any more.
            self.shared.sandbox.forget();
            match error {
                StageError::Io(doing, path, source) => BuildError::Io { doing, path, source },
                StageError::Said(why) => BuildError::NoBackend {
                    tried: vec![Unavailable { backend, why }],
                },
            }
        })?;
        let mut watch = Watch {
            group: &self.group,
            memory: self.request.limits.memory,
            disk: &mut self.disk,
            deadline: self.deadline,
            stop: self.stop,
        };
        let outcome = supervise::run(waiting, &mut self.log, &mut watch);
        self.judge(outcome)
    }

    /// Says in the terms of a build how a sandbox ended.
    fn judge(&mut self, outcome: Result<ExitStatus, Ended>) -> Result<(), BuildError> {
        let limits = &self.request.limits;
        if matches!(&outcome, Ok(status) if status.success()) {
            return Ok(());
        }
        self.log.finish().attempt("write", self.log_path())?;
        let tail = self.log.tail();
        Err(match outcome {
            Err(Ended::Cancelled) => BuildError::Cancelled,
            Err(Ended::TimedOut) => BuildError::TimedOut {
                phase: self.phase,
                limit: limits.wall_time,
                tail,
            },
            Err(Ended::OutOfMemory) => BuildError::MemoryLimit {
                limit: limits.memory,
                tail,
            },
            Err(Ended::OutOfDisk { host_full }) => BuildError::DiskLimit {
                limit: limits.disk,
                host_full,
                tail,
            },
            Err(Ended::Io(source)) => BuildError::Io {
                doing: "watch over",
                path: "the sandbox".into(),
                source,
            },
            Ok(status) => {
                let prevented = self.group.prevented();
                if prevented.memory {
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
                }
            }
        })
    }

    /// The directories that all of the build's writing goes to.
    pub fn written(scratch: &Path) -> Vec<PathBuf> {
        ["build", "tmp", "layer", "cache", "root"]
            .iter()
            .map(|name| scratch.join(name))
            .collect()
    }
}
