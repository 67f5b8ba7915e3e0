//! A filter that takes a few system calls away from sandboxes: those that reach what namespaces don't separate, and
//! those that only widen what a hostile build can try on the kernel. To a build it looks like a kernel without them.

/// `ENOSYS`: programs that ask for one of these fall back to something else.
const REFUSE: u32 = 0x0005_0000 | 38;
const ALLOW: u32 = 0x7fff_0000;

/// Instructions of classic BPF.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where the kernel's description of a call has its number and its architecture.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// One way of calling the kernel.
struct Convention {
    /// `AUDIT_ARCH_*`.
    architecture: u32,
    /// Numbers from here on are a second convention of the same architecture.
    limit: Option<u32>,
    /// `add_key`, `request_key`, `keyctl`, `perf_event_open`, `bpf`, `userfaultfd`, `io_uring_setup`.
    refused: [u32; 7],
}

const CONVENTIONS: [Convention; 7] = [
    // amd64; x32 begins at its limit.
    Convention {
        architecture: 0xc000_003e,
        limit: Some(0x4000_0000),
        refused: [248, 249, 250, 298, 321, 323, 425],
    },
    // i386
    Convention {
        architecture: 0x4000_0003,
        limit: None,
        refused: [286, 287, 288, 336, 357, 374, 425],
    },
    // arm64
    Convention {
        architecture: 0xc000_00b7,
        limit: None,
        refused: [217, 218, 219, 241, 280, 282, 425],
    },
    // armhf, armel
    Convention {
        architecture: 0x4000_0028,
        limit: None,
        refused: [309, 310, 311, 364, 386, 388, 425],
    },
    // riscv64
    Convention {
        architecture: 0xc000_00f3,
        limit: None,
        refused: [217, 218, 219, 241, 280, 282, 425],
    },
    // ppc64el
    Convention {
        architecture: 0xc000_0015,
        limit: None,
        refused: [269, 270, 271, 319, 361, 364, 425],
    },
    // s390x
    Convention {
        architecture: 0x8000_0016,
        limit: None,
        refused: [278, 279, 280, 331, 351, 355, 425],
    },
];

/// The filter as bwrap's `--seccomp` reads it.
pub(super) fn filter() -> Vec<u8> {
    let mut code = Vec::new();
    for convention in &CONVENTIONS {
        let mut block = vec![(LOAD, 0, 0, NUMBER)];
        let checks = convention
            .limit
            .iter()
            .map(|limit| (JUMP_IF_AT_LEAST, *limit))
            .chain(convention.refused.iter().map(|number| (JUMP_IF_EQUAL, *number)))
            .collect::<Vec<_>>();
        for (index, (jump, value)) in checks.iter().enumerate() {
            // Over the remaining checks and the permission, to the refusal.
            let distance = u8::try_from(checks.len() - index).unwrap_or(u8::MAX);
            block.push((*jump, distance, 0, *value));
        }
        block.push((RETURN, 0, 0, ALLOW));
        block.push((RETURN, 0, 0, REFUSE));
        code.push((LOAD, 0, 0, ARCHITECTURE));
        code.push((
            JUMP_IF_EQUAL,
            0,
            u8::try_from(block.len()).unwrap_or(u8::MAX),
            convention.architecture,
        ));
        code.extend(block);
    }
    code.push((RETURN, 0, 0, ALLOW));
    code.into_iter()
        .flat_map(|(operation, yes, no, value): (u16, u8, u8, u32)| {
            let mut bytes = Vec::with_capacity(8);
            bytes.extend(operation.to_ne_bytes());
            bytes.extend([yes, no]);
            bytes.extend(value.to_ne_bytes());
            bytes
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call, by the rules of classic BPF.
    fn verdict(architecture: u32, number: u32) -> u32 {
        let bytes = filter();
        let (mut at, mut value) = (0, 0);
        loop {
            let one = &bytes[at * 8..at * 8 + 8];
            let operand = u32::from_ne_bytes(one[4..].try_into().unwrap());
            at += 1;
            match u16::from_ne_bytes(one[..2].try_into().unwrap()) {
                LOAD => value = if operand == NUMBER { number } else { architecture },
                JUMP_IF_EQUAL => at += usize::from(if value == operand { one[2] } else { one[3] }),
                JUMP_IF_AT_LEAST => at += usize::from(if value >= operand { one[2] } else { one[3] }),
                RETURN => return operand,
                other => unreachable!("{other:x}"),
            }
        }
    }

    #[test]
    fn the_listed_calls_are_refused_and_no_other() {
        for convention in &CONVENTIONS {
            let refused: Vec<u32> = (0..600)
                .filter(|number| verdict(convention.architecture, *number) == REFUSE)
                .collect();
            assert_eq!(refused, convention.refused);
        }
        assert_eq!(verdict(0xc000_003e, 0x4000_0000), REFUSE);
        assert_eq!(verdict(0x1234, 250), ALLOW);
    }
}
