//! WASI as bots have it, of the host's making: their standard streams are their log, the clock is the host's, randomness
//! follows from the message, and there is nothing else: no arguments, no environment, no files, no network.
//!
//! `docs/adr/0022-bots-get-a-wasi-of-the-hosts-making.md` says why.

mod clock;
mod streams;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

pub(crate) use clock::Clock;

use super::journal::{Journal, Stream};
use clock::{Monotonic, Wall};
use streams::Standard;

/// Random bytes that a bot can ask for at a time: the host holds them in its own memory. A bot that asks for more traps.
const MAX_RANDOM: u64 = 1024 * 1024;

/// Resources (streams, what can be waited for) that one call may hold.
pub(super) const MAX_RESOURCES: usize = 10_000;

/// The version of WASI that is linked: 0.2 in any of its releases.
const VERSION: &str = "0.2.";

/// What bots get of each interface.
const OFFERED: [(&str, &str); 27] = [
    ("cli/environment", "no arguments, no variables"),
    ("cli/exit", "ends the attempt, as a failure"),
    ("cli/stderr", "the bot's log, as warnings"),
    ("cli/stdin", "closed"),
    ("cli/stdout", "the bot's log"),
    ("cli/terminal-input", "no terminal"),
    ("cli/terminal-output", "no terminal"),
    ("cli/terminal-stderr", "no terminal"),
    ("cli/terminal-stdin", "no terminal"),
    ("cli/terminal-stdout", "no terminal"),
    (
        "clocks/monotonic-clock",
        "the host's clock, and waiting within the message's time limit",
    ),
    ("clocks/wall-clock", "the host's clock"),
    ("filesystem/preopens", "no files: every call is refused"),
    ("filesystem/types", "no files: every call is refused"),
    ("io/error", "what the streams need"),
    ("io/poll", "what the streams and clocks need"),
    ("io/streams", "what the streams need"),
    (
        "random/insecure",
        "numbers that follow from the message: unfit for secrets",
    ),
    (
        "random/insecure-seed",
        "numbers that follow from the message: unfit for secrets",
    ),
    (
        "random/random",
        "numbers that follow from the message: unfit for secrets",
    ),
    ("sockets/instance-network", "no network: every call is refused"),
    ("sockets/ip-name-lookup", "no network: every call is refused"),
    ("sockets/network", "no network: every call is refused"),
    ("sockets/tcp", "no network: every call is refused"),
    ("sockets/tcp-create-socket", "no network: every call is refused"),
    ("sockets/udp", "no network: every call is refused"),
    ("sockets/udp-create-socket", "no network: every call is refused"),
];

/// What a bot gets of an interface of WASI that it imports, such as `wasi:cli/stdout@0.2.6`; `None` if the host doesn't
/// offer it.
#[must_use]
pub fn wasi_offer(import: &str) -> Option<&'static str> {
    let (name, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    version.strip_prefix(VERSION)?;
    OFFERED
        .iter()
        .find(|(offered, _)| *offered == name)
        .map(|(_, what)| *what)
}

/// A bot asked the host for more than it may have at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Excess(pub(super) &'static str);

/// The context of one call. It is made when the component first asks for anything of WASI: most messages of bots that
/// have no use for it never do.
pub(super) fn context(journal: &Journal, clock: &Clock, seed: [u8; 32]) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(Standard::new(journal, Stream::Out))
        .stderr(Standard::new(journal, Stream::Err))
        .wall_clock(Wall::new(clock))
        .monotonic_clock(Monotonic::new(clock))
        .secure_random(StdRng::from_seed(part(&seed, "random")))
        .insecure_random(StdRng::from_seed(part(&seed, "insecure")))
        .insecure_random_seed(u128::from_le_bytes(part(&seed, "insecure-seed")))
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    builder.build()
}

/// A seed from what makes a call the same. Lengths are hashed too, so that parts cannot run into each other.
pub(super) fn seed(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Bytes for one use of a seed.
fn part<const N: usize>(seed: &[u8; 32], purpose: &str) -> [u8; N] {
    let digest = Sha256::new().chain_update(seed).chain_update(purpose).finalize();
    let mut bytes = [0; N];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_what_is_linked() {
        for import in [
            "wasi:cli/stdout@0.2.0",
            "wasi:cli/stdout@0.2.12",
            "wasi:random/random@0.2.6",
        ] {
            assert!(wasi_offer(import).is_some(), "{import}");
        }
        for import in [
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout",
            "wasi:clocks/timezone@0.2.0",
            "wasi:http/types@0.2.0",
            "foundry:bot/log@0.1.0",
        ] {
            assert_eq!(wasi_offer(import), None, "{import}");
        }
    }

    #[test]
    fn seeds_follow_from_what_they_are_made_of() {
        assert_eq!(seed(&["a", "b"]), seed(&["a", "b"]));
        assert_ne!(seed(&["a", "b"]), seed(&["ab", ""]));
        let seed = seed(&["a"]);
        assert_ne!(part::<32>(&seed, "random"), part::<32>(&seed, "insecure"));
    }
}
