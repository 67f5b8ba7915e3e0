//! A filter that takes a few system calls away from sandboxes: those that reach what namespaces don't separate, and
//! those that only widen what a hostile build can try on the kernel. To a build it looks like a kernel without them.
//!
//! Of sockets it leaves three families: local ones, and both of the internet, which in a network namespace of their own
//! reach nothing else; and of netlink the protocol by which programs ask for addresses and routes (`getaddrinfo` does).
//! A machine's hypervisor (`AF_VSOCK`), its devices and its audit log are in no namespace.

use crate::confine::bpf::{
    ALLOW, ARCHITECTURE, ERROR, Instruction, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, LOAD, NUMBER, RETURN, architecture,
    lower_half,
};

/// `ENOSYS`: programs that ask for such a call fall back to something else.
const NO_SUCH_CALL: u32 = ERROR | 38;
/// `EAFNOSUPPORT` and `EPROTONOSUPPORT`: what a kernel without that family or protocol says.
const NO_SUCH_FAMILY: u32 = ERROR | 97;
const NO_SUCH_PROTOCOL: u32 = ERROR | 93;

/// Arguments of the calls that make sockets. Of an argument only the lower half counts: the kernel takes families and protocols
/// for 32 bits.
const FAMILY: u32 = lower_half(0);
const PROTOCOL: u32 = lower_half(2);

/// `AF_UNIX`, `AF_INET`, `AF_INET6`.
const FAMILIES: [u32; 3] = [1, 2, 10];
/// `AF_NETLINK`, and `NETLINK_ROUTE` of it.
const NETLINK: u32 = 16;
const ROUTE: u32 = 0;

/// One way of calling the kernel.
struct Convention {
    /// Debian's name of the architecture whose C library can open sockets by `socketcall` alone.
    only_socketcall: Option<&'static str>,
    /// `AUDIT_ARCH_*`.
    architecture: u32,
    /// Numbers from here on are a second convention of the same architecture.
    limit: Option<u32>,
    /// `add_key`, `request_key`, `keyctl`, `perf_event_open`, `bpf`, `userfaultfd`, `io_uring_setup`, `syslog`.
    refused: [u32; 8],
    /// `socket` and `socketpair`.
    sockets: [u32; 2],
    /// `socketcall`, whose arguments are in memory, where a filter can't see them.
    socketcall: Option<u32>,
}

const CONVENTIONS: [Convention; 7] = [
    // amd64; x32 begins at its limit.
    Convention {
        only_socketcall: None,
        architecture: architecture::X86_64,
        limit: Some(0x4000_0000),
        refused: [248, 249, 250, 298, 321, 323, 425, 103],
        sockets: [41, 53],
        socketcall: None,
    },
    // i386
    Convention {
        only_socketcall: Some("i386"),
        architecture: architecture::I386,
        limit: None,
        refused: [286, 287, 288, 336, 357, 374, 425, 103],
        sockets: [359, 360],
        socketcall: Some(102),
    },
    // arm64
    Convention {
        only_socketcall: None,
        architecture: architecture::AARCH64,
        limit: None,
        refused: [217, 218, 219, 241, 280, 282, 425, 116],
        sockets: [198, 199],
        socketcall: None,
    },
    // armhf, armel
    Convention {
        only_socketcall: None,
        architecture: architecture::ARM,
        limit: None,
        refused: [309, 310, 311, 364, 386, 388, 425, 103],
        sockets: [281, 288],
        socketcall: None,
    },
    // riscv64
    Convention {
        only_socketcall: None,
        architecture: architecture::RISCV64,
        limit: None,
        refused: [217, 218, 219, 241, 280, 282, 425, 116],
        sockets: [198, 199],
        socketcall: None,
    },
    // ppc64el
    Convention {
        only_socketcall: None,
        architecture: architecture::PPC64LE,
        limit: None,
        refused: [269, 270, 271, 319, 361, 364, 425, 103],
        sockets: [326, 333],
        socketcall: Some(102),
    },
    // s390x
    Convention {
        only_socketcall: Some("s390x"),
        architecture: architecture::S390X,
        limit: None,
        refused: [278, 279, 280, 331, 351, 355, 425, 103],
        sockets: [359, 360],
        socketcall: Some(102),
    },
];

/// What keeps builds from a machine: none of its calls would pass the filter. `processor` is named as Rust does it.
pub(super) fn fault(processor: &str) -> Option<String> {
    const KNOWN: [&str; 7] = ["x86_64", "x86", "aarch64", "arm", "riscv64", "powerpc64", "s390x"];
    let is_known = KNOWN.contains(&processor) && (processor != "powerpc64" || cfg!(target_endian = "little"));
    (!is_known).then(|| {
        format!(
            "there is no filter for the system calls of this machine's processor, {processor} (build on amd64, i386, arm64, armhf, armel, riscv64, ppc64el or s390x)"
        )
    })
}

/// The filter as bwrap's `--seccomp` reads it, for programs of an architecture (None: unknown).
///
/// On i386 and s390x the C library opens sockets by `socketcall`, so that what is built for them keeps it, and with it
/// every family; for all other architectures it is refused, in every convention that the machine has.
pub(super) fn filter(target: Option<&str>) -> Vec<u8> {
    let mut code: Vec<Instruction> = Vec::new();
    for convention in &CONVENTIONS {
        let block = block(convention, target);
        code.push((LOAD, 0, 0, ARCHITECTURE));
        code.push((JUMP_IF_EQUAL, 0, distance(block.len()), convention.architecture));
        code.extend(block);
    }
    // A way of calling the kernel that is not listed here may reach anything.
    code.push((RETURN, 0, 0, NO_SUCH_CALL));
    code.into_iter().flat_map(encoded).collect()
}

/// The part of the filter that is about one convention. It ends with a return, whatever was called.
fn block(convention: &Convention, target: Option<&str>) -> Vec<Instruction> {
    let keeps_socketcall = target.is_some() && convention.only_socketcall == target;
    let refused: Vec<Instruction> = convention
        .limit
        .iter()
        .map(|limit| (JUMP_IF_AT_LEAST, *limit))
        .chain(convention.refused.iter().map(|number| (JUMP_IF_EQUAL, *number)))
        .chain(
            convention
                .socketcall
                .iter()
                .filter(|_| !keeps_socketcall)
                .map(|number| (JUMP_IF_EQUAL, *number)),
        )
        .map(|(jump, value)| (jump, 0, 0, value))
        .collect();
    let mut block = vec![(LOAD, 0, 0, NUMBER)];
    // Over the remaining checks, those for sockets and the permission, to the refusal.
    let after = convention.sockets.len() + 1;
    for (index, (jump, _, no, value)) in refused.iter().enumerate() {
        block.push((*jump, distance(refused.len() - index - 1 + after), *no, *value));
    }
    for (index, number) in convention.sockets.iter().enumerate() {
        // Over the remaining checks, the permission and the refusal.
        block.push((
            JUMP_IF_EQUAL,
            distance(convention.sockets.len() - index - 1 + 2),
            0,
            *number,
        ));
    }
    block.push((RETURN, 0, 0, ALLOW));
    block.push((RETURN, 0, 0, NO_SUCH_CALL));
    block.extend(sockets());
    block
}

/// The part of the filter that decides about a new socket.
fn sockets() -> Vec<Instruction> {
    let mut block = vec![(LOAD, 0, 0, FAMILY)];
    for (index, family) in FAMILIES.iter().enumerate() {
        // Over the remaining families, netlink's two checks and load, to the permission.
        block.push((JUMP_IF_EQUAL, distance(FAMILIES.len() - index - 1 + 4), 0, *family));
    }
    block.push((JUMP_IF_EQUAL, 1, 0, NETLINK));
    block.push((RETURN, 0, 0, NO_SUCH_FAMILY));
    block.push((LOAD, 0, 0, PROTOCOL));
    block.push((JUMP_IF_EQUAL, 0, 1, ROUTE));
    block.push((RETURN, 0, 0, ALLOW));
    block.push((RETURN, 0, 0, NO_SUCH_PROTOCOL));
    block
}

fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

fn encoded((operation, yes, no, value): Instruction) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8);
    bytes.extend(operation.to_ne_bytes());
    bytes.extend([yes, no]);
    bytes.extend(value.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    /// What the filter says of a call with these first and third arguments, by the rules of classic BPF.
    fn asked(filter: &[u8], architecture: u32, number: u32, family: u32, protocol: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let one = &filter[at * 8..at * 8 + 8];
            let operand = u32::from_ne_bytes(one[4..].try_into().unwrap());
            at += 1;
            match u16::from_ne_bytes(one[..2].try_into().unwrap()) {
                LOAD => {
                    value = match operand {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FAMILY => family,
                        PROTOCOL => protocol,
                        other => unreachable!("{other}"),
                    };
                }
                JUMP_IF_EQUAL => at += usize::from(if value == operand { one[2] } else { one[3] }),
                JUMP_IF_AT_LEAST => at += usize::from(if value >= operand { one[2] } else { one[3] }),
                RETURN => return operand,
                other => unreachable!("{other:x}"),
            }
        }
    }

    fn verdict(architecture: u32, number: u32) -> u32 {
        asked(&filter(Some("amd64")), architecture, number, 1, 0)
    }

    #[test]
    fn the_listed_calls_are_refused_and_no_other() {
        for convention in &CONVENTIONS {
            let refused: Vec<u32> = (0..600)
                .filter(|number| verdict(convention.architecture, *number) == NO_SUCH_CALL)
                .collect();
            let mut listed = convention.refused.to_vec();
            listed.extend(convention.socketcall);
            listed.sort_unstable();
            assert_eq!(refused, listed);
        }
        assert_eq!(verdict(AMD64, 0x4000_0000), NO_SUCH_CALL);
    }

    #[test]
    fn without_a_list_for_its_calls_a_machine_builds_nothing() {
        assert!((0..600).all(|number| verdict(0x1234, number) == NO_SUCH_CALL));
        assert_eq!(fault(std::env::consts::ARCH), None);
        let fault = fault("loongarch64").unwrap();
        assert!(fault.contains("processor, loongarch64 (build on amd64"), "{fault}");
    }

    #[test]
    fn sockets_are_of_three_families_and_of_netlink_for_routes() {
        let filter = filter(Some("amd64"));
        for convention in &CONVENTIONS {
            for number in convention.sockets {
                let asked = |family, protocol| asked(&filter, convention.architecture, number, family, protocol);
                let allowed: Vec<u32> = (0..64).filter(|family| asked(*family, 0) == ALLOW).collect();
                assert_eq!(allowed, [1, 2, 10, 16]);
                assert_eq!(asked(40, 0), NO_SUCH_FAMILY);
                let protocols: Vec<u32> = (0..64).filter(|protocol| asked(NETLINK, *protocol) == ALLOW).collect();
                assert_eq!(protocols, [ROUTE]);
                assert_eq!(asked(NETLINK, 9), NO_SUCH_PROTOCOL);
                assert_eq!(asked(2, 6), ALLOW, "the protocol of others is their own matter");
            }
        }
    }

    #[test]
    fn the_call_that_hides_its_family_is_only_for_those_who_have_no_other() {
        let says = |target: Option<&str>, architecture| asked(&filter(target), architecture, 102, 1, 0);
        assert_eq!(says(Some("i386"), I386), ALLOW);
        assert_eq!(says(Some("amd64"), I386), NO_SUCH_CALL);
        assert_eq!(says(None, I386), NO_SUCH_CALL);
        assert_eq!(says(Some("s390x"), 0x8000_0016), ALLOW);
        assert_eq!(says(Some("i386"), 0xc000_0015), NO_SUCH_CALL);
    }
}
