//! What sandboxes see of this machine's own `/etc` and `/var/lib`, by name. What is not listed here is not there.
//!
//! A name ending in `*` stands for all that begin so. Nothing is shown that not everyone on the machine may read,
//! whatever it is called: that is somebody's secret.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::view::Purpose;

/// Of `/etc`, what programs that compile, test and pack read: configuration that packages bring, and that holds no
/// passwords. The accounts and the hosts are files of our own.
pub(super) const ETC: &[&str] = &[
    "ImageMagick-*",
    "OpenCL",
    "R",
    "X11",
    "adduser.conf",
    "alternatives",
    "ant",
    "aspell",
    "bash.bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "debconf.conf",
    "debian_version",
    "deluser.conf",
    "dictionaries-common",
    "dpkg",
    "emacs",
    "ethertypes",
    "fonts",
    "gai.conf",
    "gdb",
    "ghc",
    "glvnd",
    "gnutls",
    "groff",
    "gss",
    "gtk-2.0",
    "gtk-3.0",
    "host.conf",
    "inputrc",
    "iproute2",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ldap/ldap.conf",
    "libaudit.conf",
    "locale.alias",
    "locale.conf",
    "locale.gen",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "manpath.config",
    "maven",
    "mime.types",
    "mke2fs.conf",
    "mono",
    "mtab",
    "netconfig",
    "networks",
    "nsswitch.conf",
    "ocaml",
    "openmpi",
    "os-release",
    "papersize",
    "perl",
    "php",
    "postgresql-common",
    "profile",
    "protocols",
    "python*",
    "rmt",
    "rpc",
    "selinux",
    "services",
    "sgml",
    "shells",
    "skel",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "texmf",
    "timezone",
    "ucf.conf",
    "vulkan",
    "xattr.conf",
    "xdg",
    "xml",
];

/// Of `/etc`, what apt, dpkg and the scripts of packages use besides. Passwords for mirrors are not part of it.
pub(super) const ETC_FOR_PACKAGES: &[&str] = &[
    "apt/apt.conf",
    "apt/apt.conf.d",
    "apt/keyrings",
    "apt/preferences",
    "apt/preferences.d",
    "apt/sources.list",
    "apt/sources.list.d",
    "apt/trusted.gpg",
    "apt/trusted.gpg.d",
    "default/locale",
    "default/useradd",
    "init.d",
    "pam.conf",
    "pam.d",
    "rc?.d",
    "security",
];

/// Where the passwords for mirrors are.
pub(super) const PASSWORDS: [&str; 2] = ["apt/auth.conf", "apt/auth.conf.d"];

/// Where apt finds, below `/etc`, how this machine reaches its mirrors: proxies may have passwords too.
pub(in super::super) const TRANSPORT: &str = "apt/apt.conf.d/99foundry-transport";

/// Of `/var/lib`, what the scripts of packages have made for programs to read. dpkg's database comes besides.
pub(super) const VAR_LIB: &[&str] = &[
    "aspell",
    "ca-certificates-java",
    "dictionaries-common",
    "emacsen-common",
    "gems",
    "ghc",
    "ghostscript",
    "ispell",
    "libreoffice/share",
    "libxml-sax-perl",
    "mecab",
    "ocaml",
    "pam",
    "php/modules",
    "polymake",
    "python",
    "sgml-base",
    "shells.state",
    "tex-common",
    "texmf",
    "ucf",
    "vim",
    "xfonts",
    "xml-core",
];

/// dpkg's database, below `/var/lib`.
pub(super) const DPKG: &str = "dpkg";

/// What is shown of `/etc` for a purpose.
pub(super) fn etc(purpose: Purpose) -> &'static [&'static [&'static str]] {
    match purpose {
        Purpose::Build => &[ETC],
        Purpose::Bootstrap | Purpose::Fetch | Purpose::Install => &[ETC, ETC_FOR_PACKAGES],
    }
}

/// Of the listed names, those that are in the directory `top` and that everyone may read; relative to it, sorted.
pub(super) fn present(top: &Path, lists: &[&[&str]]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = lists
        .iter()
        .flat_map(|list| list.iter())
        .flat_map(|name| matching(top, name))
        .filter(|path| is_reachable(top, path))
        .filter(|path| fs::symlink_metadata(top.join(path)).is_ok_and(|kind| is_public(&kind)))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether everyone may go to where something below `top` is, which is relative to it.
pub(super) fn is_reachable(top: &Path, path: &Path) -> bool {
    let mut above = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    above.all(|dir| fs::metadata(top.join(dir)).is_ok_and(|kind| kind.permissions().mode() & 0o001 != 0))
}

/// Whether everyone on the machine may read it. A link is as public as what it leads to, which its own mode doesn't
/// say: it is shown as a link, and leads in the sandbox to what is shown there.
pub(super) fn is_public(kind: &Metadata) -> bool {
    let mode = kind.permissions().mode();
    if kind.is_symlink() {
        true
    } else if kind.is_dir() {
        mode & 0o005 == 0o005
    } else {
        kind.is_file() && mode & 0o004 != 0
    }
}

fn matching(top: &Path, name: &str) -> Vec<PathBuf> {
    let (start, end) = match name.split_once(['*', '?']) {
        Some(parts) => parts,
        None => return vec![name.into()],
    };
    fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| {
            let rest = file.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            rest.is_some_and(|rest| name.contains('*') || rest.chars().count() == 1)
        })
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_and_public_is_present() {
        let top = tempfile::tempdir().unwrap();
        let put = |name: &str, mode: u32| {
            let path = top.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("services", 0o644);
        put("rpc", 0o640);
        put("shadow", 0o644);
        put("rc2.d", 0o644);
        put("rc10.d", 0o644);
        put("java-17", 0o644);
        put("ssl/certs", 0o644);
        put("ssl/private", 0o644);
        put("closed/open", 0o644);
        fs::set_permissions(top.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        let names: Vec<_> = present(
            top.path(),
            &[&[
                "services",
                "rpc",
                "rc?.d",
                "java*",
                "ssl/certs",
                "closed/open",
                "nothing",
            ]],
        );
        assert_eq!(names, ["java-17", "rc2.d", "services", "ssl/certs"].map(PathBuf::from));
    }

    #[test]
    fn no_list_names_what_holds_secrets() {
        for list in [ETC, ETC_FOR_PACKAGES, VAR_LIB] {
            for name in list {
                for secret in [
                    "shadow", "gshadow", "ssh", "ssl", "foundry", "sudoers", "apt", "apt/auth", "mysql", "netplan",
                    "private",
                ] {
                    assert!(*name != secret && !name.starts_with(&format!("{secret}.")), "{name}");
                }
            }
        }
    }
}
