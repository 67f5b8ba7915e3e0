//! Finds a place where the package can be built: a root in which its build dependencies are installed.

use super::error::{BuildError, Unavailable};
use super::job::{Job, Place};
use super::machine;
use super::package::SourcePackage;
use super::pipeline::tree_name;
use super::request::{Backend, BuildKind};
use super::sandbox::{self, BUILD_USER, Root};

/// The order in which backends are tried: the cheapest first.
const ORDER: [Backend; 3] = [Backend::HostRoot, Backend::HostRootLayered, Backend::OwnRoot];

impl Job<'_> {
    /// Finds a place by the first backend that serves the request.
    pub fn provide(&mut self, package: &SourcePackage) -> Result<Place, BuildError> {
        let mut tried = Vec::new();
        let sandbox = self.shared.sandbox.fault();
        for backend in self.backends() {
            let why = match sandbox.clone().or_else(|| self.unavailable(backend)) {
                Some(why) => why,
                None => match self.provide_by(backend, package) {
                    Ok(place) => {
                        self.write_accounts(&place.root)?;
                        return Ok(place);
                    }
                    Err(BuildError::Dependencies { missing, .. }) if backend == Backend::HostRoot => {
                        format!(
                            "this machine lacks build dependencies (apt-get install {})",
                            missing.join(", ")
                        )
                    }
                    Err(other) => return Err(other),
                },
            };
            tried.push(Unavailable { backend, why });
        }
        Err(BuildError::NoBackend { tried })
    }

    fn provide_by(&mut self, backend: Backend, package: &SourcePackage) -> Result<Place, BuildError> {
        let tree = format!("/build/{}", tree_name(package));
        match backend {
            Backend::HostRoot => {
                let (root, lock) = self.machine_root()?;
                let place = Place {
                    backend,
                    root,
                    tree,
                    leases: vec![lock],
                };
                self.write_accounts(&place.root)?;
                if self.request.kind.has_binaries() {
                    self.check_dependencies(&place)?;
                }
                Ok(place)
            }
            Backend::HostRootLayered => {
                let (root, lock) = self.over_machine(package)?;
                Ok(Place {
                    backend,
                    root,
                    tree,
                    leases: vec![lock],
                })
            }
            Backend::OwnRoot => {
                let (base, base_lock) = self.own_root()?;
                let state = base.base().as_os_str().as_encoded_bytes().to_vec();
                let (root, lock) = self.layered(package, backend, base, &state, &|| true)?;
                Ok(Place {
                    backend,
                    root,
                    tree,
                    leases: vec![base_lock, lock],
                })
            }
        }
    }

    /// Whether some backend may serve the request here, as far as that can be known without its package.
    pub fn serves(&self) -> Result<(), BuildError> {
        let mut tried = Vec::new();
        let sandbox = self.shared.sandbox.fault();
        for backend in self.backends() {
            let Some(why) = sandbox.clone().or_else(|| self.unavailable(backend)) else {
                return Ok(());
            };
            tried.push(Unavailable { backend, why });
        }
        Err(BuildError::NoBackend { tried })
    }

    fn backends(&self) -> impl Iterator<Item = Backend> + use<> {
        let chosen = self.shared.settings.backend;
        ORDER
            .into_iter()
            .filter(move |one| chosen.is_none_or(|chosen| chosen == *one))
    }

    /// Why a backend can't serve this request here, where there are sandboxes.
    fn unavailable(&self, backend: Backend) -> Option<String> {
        match backend {
            Backend::HostRoot => self.host_root_fault(),
            Backend::HostRootLayered => self.host_root_fault().or_else(|| self.layer_fault()),
            Backend::OwnRoot => self.own_root_fault(),
        }
    }

    /// Why this machine's own root can't serve the request.
    fn host_root_fault(&self) -> Option<String> {
        let machine = &self.shared.machine;
        let differs = |asked: &Option<String>, own: &Option<String>, what: &str| {
            let asked = asked.as_ref()?;
            let own = own.as_deref().unwrap_or("of no name");
            (asked != own).then(|| format!("the build is for {what} {asked}, and this machine is {own}"))
        };
        if let Some(place) = self.shared.state.parent().filter(|place| sandbox::is_programs(place)) {
            return Some(format!(
                "the state directory is {}, which builds have to see (choose another with --state)",
                place.display()
            ));
        }
        differs(&self.request.suite, &machine.codename, "the suite")
            .or_else(|| differs(&self.request.architecture, &machine.architecture, "the architecture"))
            .or_else(machine::packaging_fault)
    }

    /// Why nothing can be laid over this machine's own root.
    fn layer_fault(&self) -> Option<String> {
        if !self.shared.machine.is_root {
            return Some("only root can lay packages over this machine's own root (run the host as root)".to_owned());
        }
        let state = &self.shared.state;
        let among = sandbox::is_among_programs(state).then(|| {
            format!(
                "{} is among the programs over which packages would be laid (choose another state directory with --state)",
                state.display()
            )
        });
        among.or_else(|| machine::layer_fault(state))
    }

    /// Asks dpkg whether the build dependencies are installed.
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
                Err(BuildError::Dependencies {
                    missing,
                    unreachable: false,
                    tail,
                })
            }
            other => other,
        }
    }

    /// Writes the users and groups that the sandbox shows: those of the root without its people, and the build's own.
    pub fn write_accounts(&self, root: &Root) -> Result<(), BuildError> {
        let user = format!("build:x:{BUILD_USER}:{BUILD_USER}:build:/nonexistent:/bin/sh\n");
        let group = format!("build:x:{BUILD_USER}:\n");
        for (name, own) in [("passwd", user), ("group", group)] {
            let system = sandbox::system_accounts(&root.text(&format!("etc/{name}")));
            self.scratch.file(name, system + &own)?;
        }
        Ok(())
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
