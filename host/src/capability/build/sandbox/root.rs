//! The file system below a sandbox: a base that is only read, and maybe a layer over it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::super::stage::Overlay;
use super::allowed::{self, DPKG, VAR_LIB};
use super::plan::Plan;
use super::view::Purpose;

/// Directories with programs. Whichever of them is a link is made one again.
const PROGRAMS: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr"];
/// What else packages install into.
const DATA: [&str; 3] = ["etc", "opt", "var/lib"];
/// What Debian itself has in /usr, so that builds need it.
const OF_USR: [&str; 10] = [
    "bin", "games", "include", "lib", "lib32", "lib64", "libexec", "libx32", "sbin", "share",
];
/// The longest file of accounts that is read.
const LONGEST_ACCOUNTS: u64 = 4 << 20;

/// A directory of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Part {
    /// Where it is, relative to the root.
    pub path: &'static str,
    /// Where a layer's part comes from.
    kind: PartKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    /// The base's directory, with the layer's changes over it.
    Changed,
    /// The same; only apt has a use for it.
    ForApt,
    /// A directory of the layer's own, through which nothing of the base is seen.
    Own,
}

impl Part {
    /// The name that its directory has in a layer.
    pub fn name(&self) -> String {
        self.path.replace('/', "-")
    }

    fn is_for(&self, purpose: Purpose) -> bool {
        self.kind != PartKind::ForApt || purpose != Purpose::Build
    }
}

/// The file system below a sandbox: a base that is only read, and maybe a layer over it.
#[derive(Debug, Clone)]
pub(in super::super) struct Root {
    base: PathBuf,
    layer: Option<PathBuf>,
    /// A copy of what sandboxes see of the machine's own data, where there is no layer that has one.
    data: Option<PathBuf>,
    parts: Vec<Part>,
    /// `bin -> usr/bin`.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Root {
    /// Looks at the directory that serves as base. `/` is the machine's own root.
    pub fn over(base: &Path) -> Self {
        let mut root = Self {
            base: base.to_owned(),
            layer: None,
            data: None,
            parts: Vec::new(),
            links: Vec::new(),
        };
        let data: &[&str] = if root.is_host() { &[] } else { &DATA };
        for part in PROGRAMS.iter().chain(data) {
            root.look(part);
        }
        root
    }

    fn look(&mut self, part: &'static str) {
        let path = self.base.join(part);
        match fs::symlink_metadata(&path) {
            Ok(kind) if kind.is_symlink() => {
                if let Ok(link) = fs::read_link(&path) {
                    self.links.push((link, Path::new("/").join(part)));
                }
            }
            Ok(kind) if kind.is_dir() => self.parts.push(Part {
                path: part,
                kind: PartKind::Changed,
            }),
            _ => {}
        }
    }

    /// The same with a layer over it, which has a directory for each part.
    #[must_use]
    pub fn with_layer(mut self, layer: &Path) -> Self {
        if self.layer.is_none() {
            let mut add = |path, kind| self.parts.push(Part { path, kind });
            if self.base == Path::new("/") {
                for path in DATA {
                    add(path, PartKind::Own);
                }
                add("var/lib/dpkg", PartKind::Changed);
            }
            add("var/lib/apt", PartKind::ForApt);
        }
        self.layer = Some(layer.to_owned());
        self
    }

    /// The machine's own root with a copy of its data, which builds see in place of them.
    #[must_use]
    pub fn with_data(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// The directory that serves as base.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Whether packages were or are put into a layer over it.
    pub(super) fn has_layer(&self) -> bool {
        self.layer.is_some()
    }

    /// The directories that it is made of; one that is below another comes after it.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The overlays that put layer and base together below `merged`, unchangeable.
    pub fn overlays(&self, merged: &Path) -> Vec<Overlay> {
        self.overlaid(Purpose::Build, |part, layer| Overlay {
            lower: vec![layer.join(part.name()), self.base.join(part.path)],
            upper: None,
            target: merged.join(part.name()),
        })
    }

    /// The overlays that take changes to the base into the layer.
    pub fn changing_overlays(&self, work: &Path, merged: &Path) -> Vec<Overlay> {
        self.overlaid(Purpose::Install, |part, layer| Overlay {
            lower: vec![self.base.join(part.path)],
            upper: Some((layer.join(part.name()), work.join(part.name()))),
            target: merged.join(part.name()),
        })
    }

    fn overlaid(&self, purpose: Purpose, overlay: impl Fn(&Part, &Path) -> Overlay) -> Vec<Overlay> {
        let Some(layer) = &self.layer else { return Vec::new() };
        self.parts
            .iter()
            .filter(|part| part.kind != PartKind::Own && part.is_for(purpose))
            .map(|part| overlay(part, layer))
            .collect()
    }

    /// The text of a file of the root: the layer's if that has it. Links are not followed, as a package's own script
    /// may have made them.
    pub fn text(&self, name: &str) -> String {
        let layer = self.layer.iter().map(|layer| layer.join(name));
        layer
            .chain([self.base.join(name)])
            .find_map(|path| read_plain(&path, |_| true).ok())
            .unwrap_or_default()
    }

    /// The same of a file that everyone may read; of another, nothing.
    pub fn public_text(&self, name: &str) -> String {
        let mut tops = self.layer.iter().chain([&self.base]);
        tops.find(|top| fs::symlink_metadata(top.join(name)).is_ok())
            .filter(|top| allowed::is_reachable(top, Path::new(name)))
            .and_then(|top| read_plain(&top.join(name), allowed::is_public).ok())
            .unwrap_or_default()
    }

    /// Whether it is the machine's own root, with or without a layer.
    pub fn is_host(&self) -> bool {
        self.base == Path::new("/")
    }

    /// Shows the root, from `merged` where parts of a layer have been merged with the base.
    pub(super) fn show(&self, plan: &mut Plan<'_>, purpose: Purpose, merged: &Path) {
        for part in self.parts.iter().filter(|part| part.is_for(purpose)) {
            let from = match (&self.layer, part.kind) {
                (Some(layer), PartKind::Own) => layer.join(part.name()),
                (Some(_), _) => merged.join(part.name()),
                (None, _) => self.base.join(part.path),
            };
            let to = Path::new("/").join(part.path);
            if purpose.installs() {
                plan.lend(&from, to);
            } else {
                plan.show(&from, to);
            }
        }
        for (link, to) in &self.links {
            plan.link(link, to);
        }
        match &self.data {
            Some(data) => {
                plan.show(&data.join("etc"), "/etc");
                plan.show(&data.join("var-lib"), "/var/lib");
                plan.show(Path::new("/var/lib/dpkg"), "/var/lib/dpkg");
            }
            None if self.is_host() && self.layer.is_none() => show_allowed(plan, purpose),
            None => {}
        }
    }

    /// The private directories that lie in what is shown, and so have to be covered. Of this machine's own root these
    /// are `/usr/local`, which is no part of Debian, and those of `private` that are where programs are.
    pub(super) fn covered(&self, private: &[PathBuf]) -> Vec<PathBuf> {
        if !self.is_host() {
            return Vec::new();
        }
        let local = PathBuf::from("/usr/local");
        let private = private
            .iter()
            .filter(|path| is_among_programs(path) && !is_programs(path) && !path.starts_with(&local));
        std::iter::once(&local)
            .chain(private)
            .filter(|path| fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir()))
            .cloned()
            .collect()
    }
}

/// Whether a directory is one that builds need as a whole, so that it can't be covered: `/usr`, `/usr/lib`.
pub(in super::super) fn is_programs(path: &Path) -> bool {
    let among = |top: &str, names: &[&str]| names.iter().any(|name| Path::new(top).join(name) == path);
    among("/", &PROGRAMS) || among("/usr", &OF_USR)
}

/// Whether a path is where programs are, or below.
pub(in super::super) fn is_among_programs(path: &Path) -> bool {
    PROGRAMS.iter().any(|part| path.starts_with(Path::new("/").join(part)))
}

/// Shows what is allowed of this machine's own /etc and /var/lib.
fn show_allowed(plan: &mut Plan<'_>, purpose: Purpose) {
    for (top, lists) in [("/etc", allowed::etc(purpose)), ("/var/lib", &[VAR_LIB, &[DPKG]])] {
        let top = Path::new(top);
        for name in allowed::present(top, lists) {
            let path = top.join(name);
            if let Some(parent) = path.parent().filter(|parent| *parent != top) {
                plan.directory(parent);
            }
            match fs::read_link(&path) {
                Ok(target) => plan.link(&target, &path),
                Err(_) => plan.show(&path, &path),
            }
        }
    }
}

/// Reads a file that is no link, not too long, and may be read by what is known of it.
fn read_plain(path: &Path, may: impl Fn(&Metadata) -> bool) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?;
    if !kind.is_file() || !may(&kind) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_ACCOUNTS).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_directory_among_programs_is_covered_and_no_other() {
        let root = Root::over(Path::new("/"));
        let private = [
            "/var/lib/x",
            "/usr",
            "/usr/bin",
            "/usr/share/doc",
            "/usr/local/x",
            "/usr/share/no-such-directory",
        ];
        assert_eq!(
            root.covered(&private.map(PathBuf::from)),
            ["/usr/local", "/usr/share/doc"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_layer_over_the_machine_shows_nothing_of_its_data_but_the_packages() {
        let root = Root::over(Path::new("/")).with_layer(Path::new("/layer"));
        let lower: Vec<PathBuf> = root
            .changing_overlays(Path::new("/work"), Path::new("/merged"))
            .into_iter()
            .flat_map(|overlay| overlay.lower)
            .filter(|path| !is_programs(path))
            .collect();
        assert_eq!(lower, ["/var/lib/dpkg", "/var/lib/apt"].map(PathBuf::from));
    }

    #[test]
    fn a_link_in_place_of_the_accounts_is_not_followed() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("layer/etc")).unwrap();
        fs::write(top.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(top.path().join("secret"), top.path().join("layer/etc/passwd")).unwrap();
        let root = Root::over(top.path()).with_layer(&top.path().join("layer"));
        assert_eq!(root.text("etc/passwd"), "");
    }

    #[test]
    fn settings_that_not_everyone_may_read_are_not_told() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("etc/apt/apt.conf");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "Acquire::http::Proxy \"http://me:secret@proxy\";").unwrap();
        let root = Root::over(top.path());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (of_file, of_dir, told) in [(0o644, 0o755, true), (0o600, 0o755, false), (0o644, 0o700, false)] {
            mode(&file, of_file);
            mode(file.parent().unwrap(), of_dir);
            assert_eq!(
                !root.public_text("etc/apt/apt.conf").is_empty(),
                told,
                "{of_file:o} {of_dir:o}"
            );
        }
        assert!(root.text("etc/apt/apt.conf").contains("secret"));
    }
}
