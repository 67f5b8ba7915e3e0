//! For how many connections the process has file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no client's connection takes: databases, files, the sockets and processes of a host around the broker.
const RESERVE: u64 = 512;

/// So many of the `wanted` connections can be there at one time. Raises the process's soft limit as far as they need it:
/// the usual one of 1024 is for programs that use `select`. Not further, since child processes inherit it, and some close
/// every descriptor up to it.
pub(super) fn room(wanted: usize) -> usize {
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(RESERVE);
    let limit = getrlimit(Resource::Nofile);
    let Some(soft) = limit.current.filter(|soft| *soft < needed) else {
        return wanted;
    };
    let raised = limit.maximum.map_or(needed, |hard| hard.min(needed)).max(soft);
    let current = Some(raised);
    let set = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    let descriptors = match set {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            soft
        }
    };
    let room = within(wanted, descriptors);
    if room < wanted {
        tracing::warn!(
            descriptors,
            connections = room,
            wanted,
            "fewer connections than configured: the limit of open files (RLIMIT_NOFILE, LimitNOFILE= of systemd) is too low"
        );
    }
    room
}

/// The connections that leave the reserve alone; of very few descriptors it is half.
fn within(wanted: usize, descriptors: u64) -> usize {
    let room = descriptors.saturating_sub(RESERVE).max(descriptors / 2);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(within(10_000, 10_512), 10_000);
        assert_eq!(within(10_000, 4096), 3584);
        assert_eq!(within(10_000, 1024), 512);
        assert_eq!(within(10_000, 100), 50);
        assert_eq!(within(20, 100), 20);
    }
}
