//! What both eBPF objects need: the licence, which decides which helpers a program may call, the panic handler, and the
//! return value of their programs.

/// Return value of every cgroup program: let the packet pass.
pub const PASS: i32 = 1;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
