//! Whose ids sandboxes have: never those of the host.

use super::machine::Machine;
use super::request::Backend;
use super::subordinate::{self, SubIds};

/// Whose rights a command in the sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs what the package's authors wrote: one plain user, nothing else.
    Builder,
    /// Installs packages into a root of our own: root of a user namespace, over as many ids as a Debian system uses,
    /// none of which is anybody's on the machine.
    Installer,
    /// Installs packages over the machine's own root, whose files belong to the machine's ids, and so with those.
    MachineInstaller,
}

impl Role {
    /// Who installs packages for a way of building.
    pub fn of(backend: Backend) -> Self {
        match backend {
            Backend::OwnRoot => Self::Installer,
            Backend::HostRoot | Backend::HostRootLayered => Self::MachineInstaller,
        }
    }

    /// Whether it has as many ids as a Debian system uses, and not one.
    pub fn has_several_ids(self) -> bool {
        self != Self::Builder
    }
}

/// Whose ids sandboxes have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ids {
    /// Root's host: those who build have an id that is nobody's, those who install packages into a root of their own a
    /// range that is nobody's.
    Nobodys { build: u32, installer: Option<SubIds> },
    /// An ordinary user's host: the user's subordinate ids.
    Subordinate(SubIds),
    /// An ordinary user's host without subordinate ids runs no sandbox.
    None,
}

impl Ids {
    /// Those that there are now. `build` is the id of those who build when the host is root.
    pub fn of(machine: &Machine, build: u32) -> Self {
        if machine.is_root {
            let installer = machine.installer_ids(build);
            return Self::Nobodys { build, installer };
        }
        subordinate::own().map_or(Self::None, Self::Subordinate)
    }

    /// The subordinate ids of an ordinary user's host.
    pub fn subordinate(self) -> Option<SubIds> {
        match self {
            Self::Subordinate(ids) => Some(ids),
            Self::Nobodys { .. } | Self::None => None,
        }
    }

    /// Who root is, outside, for those who install packages in this role: user and group. None: ourselves.
    pub fn installer(self, role: Role) -> Option<(u32, u32)> {
        match self {
            _ if role != Role::Installer => None,
            Self::Nobodys { installer, .. } => installer.map(|ids| (ids.uid, ids.gid)),
            Self::Subordinate(ids) => Some(ids.installer()),
            Self::None => None,
        }
    }

    /// Who builds, outside: user and group. None: nobody can.
    pub fn builder(self) -> Option<(u32, u32)> {
        match self {
            Self::Nobodys { build, .. } => Some((build, build)),
            Self::Subordinate(ids) => Some(ids.builder()),
            Self::None => None,
        }
    }

    /// Who a command in this role is, outside, before it is root of a namespace. None: ourselves.
    pub fn of_role(self, role: Role) -> Option<(u32, u32)> {
        match role {
            Role::Builder => self.builder(),
            Role::Installer => self.installer(role),
            Role::MachineInstaller => None,
        }
    }
}
