//! Classic BPF, as far as filters of system calls need it (`linux/filter.h`, `linux/seccomp.h`, `linux/audit.h`).

/// The call goes on.
pub const ALLOW: u32 = 0x7fff_0000;
/// The call fails, with the error whose number is in the lower 16 bits.
pub const ERROR: u32 = 0x0005_0000;
/// The process is killed by `SIGSYS`.
pub const KILL: u32 = 0x8000_0000;

/// Loads 32 bits of the call's description.
pub const LOAD: u16 = 0x20;
/// Jumps if what is loaded is the value.
pub const JUMP_IF_EQUAL: u16 = 0x15;
/// Jumps if what is loaded is the value or more.
pub const JUMP_IF_AT_LEAST: u16 = 0x35;
/// Jumps if what is loaded has one of the value's bits.
pub const JUMP_IF_ANY: u16 = 0x45;
/// Ends with the value as the filter's answer.
pub const RETURN: u16 = 0x06;

/// Where the description of a call has its number.
pub const NUMBER: u32 = 0;
/// Where it has the convention by which the kernel was called (`AUDIT_ARCH_*`).
pub const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_*` of the conventions that Debian's architectures have.
pub mod architecture {
    /// amd64 and x32.
    pub const X86_64: u32 = 0xc000_003e;
    /// i386.
    pub const I386: u32 = 0x4000_0003;
    /// arm64.
    pub const AARCH64: u32 = 0xc000_00b7;
    /// armhf and armel.
    pub const ARM: u32 = 0x4000_0028;
    /// riscv64.
    pub const RISCV64: u32 = 0xc000_00f3;
    /// ppc64el.
    pub const PPC64LE: u32 = 0xc000_0015;
    /// s390x.
    pub const S390X: u32 = 0x8000_0016;
}

/// An instruction: what to do, how far to jump if so and if not, and the value.
pub type Instruction = (u16, u8, u8, u32);

/// Where the description has the lower half of an argument, the first of which is 0.
#[must_use]
pub const fn lower_half(argument: u32) -> u32 {
    16 + 8 * argument + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// Where the description has the upper half of an argument.
#[must_use]
pub const fn upper_half(argument: u32) -> u32 {
    16 + 8 * argument + if cfg!(target_endian = "big") { 0 } else { 4 }
}
