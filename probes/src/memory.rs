//! Giving memory back to the kernel. Here because it needs a call that is not safe; what is freed and when is up to the
//! daemon.

/// Returns what the allocator holds and nobody uses. It keeps freed memory for the next who asks, which a limit of memory
/// counts as used all the same. Takes milliseconds where there is much.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            /// malloc_trim(3); 1 when something was returned.
            fn malloc_trim(pad: usize) -> core::ffi::c_int;
        }
        // SAFETY: it has no preconditions, and takes the allocator's own locks.
        unsafe { malloc_trim(0) };
    }
}
