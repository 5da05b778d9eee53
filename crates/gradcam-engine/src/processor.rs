//! Which instruction sets the processor has. They decide whether products of 8-bit integers saturate.
//!
//! The instruction `vpmaddubsw` of AVX2 and of AVX-512 without VNNI adds pairs of u8·i8 products in 16 bits and saturates:
//! 255·127 + 255·127 becomes 32,767. Kernels for older and newer instruction sets are exact.

/// The instruction sets that matter for products of 8-bit integers.
pub(super) struct InstructionSets {
    pub(super) sse41: bool,
    pub(super) avx2: bool,
    pub(super) avx_vnni: bool,
    pub(super) avx512_vnni: bool,
}

/// The instruction sets of this processor; `None` if it is not an x86, because other kernels are exact.
#[cfg(target_arch = "x86_64")]
pub(super) fn instruction_sets() -> Option<InstructionSets> {
    Some(InstructionSets {
        sse41: std::arch::is_x86_feature_detected!("sse4.1"),
        avx2: std::arch::is_x86_feature_detected!("avx2"),
        avx_vnni: std::arch::is_x86_feature_detected!("avxvnni"),
        avx512_vnni: std::arch::is_x86_feature_detected!("avx512vnni"),
    })
}

/// The instruction sets of this processor; `None` if it is not an x86, because other kernels are exact.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn instruction_sets() -> Option<InstructionSets> {
    None
}
