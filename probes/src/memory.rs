//! Giving memory back to the kernel. Here because it needs calls that are not safe; what is given back and when is up to
//! the daemon.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use rustix::mm::{Advice, madvise};

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

/// Takes the pages of this program's code and constants out of the process, and returns how many bytes of them there
/// may have been. What is used again is mapped again when it is, from the page cache; most of what a start uses is not.
///
/// # Errors
///
/// When `/proc/self` cannot be read, or the kernel refuses.
pub fn let_go_of_code() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let mappings = String::from_utf8_lossy(&fs::read("/proc/self/smaps")?).into_owned();
    let mut bytes = 0;
    for range in untouched(&mappings, &program) {
        // SAFETY: nobody can have written to these pages, which are private, read-only and have no copies of their own:
        // whoever reads them again reads the same from the file.
        unsafe { madvise(range.start as *mut _, range.len(), Advice::LinuxDontNeed) }?;
        bytes += range.len();
    }
    Ok(bytes)
}

/// Where the program is mapped and can be had from its file again: read-only, with no page that was changed in memory. A
/// relocated page has been, and so has one that a debugger put a breakpoint into. Of proc_pid_smaps(5).
fn untouched(mappings: &str, program: &Path) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in mappings.lines() {
        if let Some((range, private_and_read_only, path)) = heading(line) {
            candidate = (private_and_read_only && Path::new(path) == program).then_some(range);
        } else if line.split_whitespace().eq(["Anonymous:", "0", "kB"]) {
            found.extend(candidate.take());
        }
    }
    found
}

/// The first line of a mapping: its range, whether it is private and read-only, and its path.
fn heading(line: &str) -> Option<(Range<usize>, bool, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    let (flags, rest) = rest.split_once(' ')?;
    // Offset, device and inode stand before the path.
    let path = rest.splitn(4, ' ').nth(3).unwrap_or_default().trim_start();
    Some((range, flags.starts_with('r') && !flags.contains('w') && flags.ends_with('p'), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_is_let_go_of() {
        let mapping = |heading: &str, anonymous: &str| {
            format!(
                "{heading}\nSize:  4 kB\nRss:  4 kB\nAnonymous: {anonymous:>12} kB\nVmFlags: rd ex mr mw me\n"
            )
        };
        let mappings = [
            mapping("5000-6000 r--p 00000000 fe:00 17                  /usr/bin/netsonde", "0"),
            mapping("6000-9000 r-xp 00001000 fe:00 17                  /usr/bin/netsonde", "0"),
            mapping("9000-a000 r--p 00004000 fe:00 17                  /usr/bin/netsonde", "4"),
            mapping("a000-b000 rw-p 00005000 fe:00 17                  /usr/bin/netsonde", "0"),
            mapping("b000-c000 r--s 00000000 fe:00 17                  /usr/bin/netsonde", "0"),
            mapping("c000-d000 r-xp 00000000 fe:00 18                  /usr/lib/libc.so.6", "0"),
            mapping("d000-e000 r-xp 00000000 00:00 0 ", "0"),
            mapping("e000-f000 r-xp 00001000 fe:00 17                  /usr/bin/net sonde", "0"),
        ];
        let mappings = mappings.concat();
        let of = |program: &str| untouched(&mappings, Path::new(program));
        assert_eq!(of("/usr/bin/netsonde"), [0x5000..0x6000, 0x6000..0x9000]);
        assert_eq!(of("/usr/bin/net sonde").first(), Some(&(0xe000..0xf000)));
        assert!(of("/usr/bin/netsonde (deleted)").is_empty());
    }

    #[test]
    fn code_that_was_let_go_of_runs_again() {
        let bytes = let_go_of_code().unwrap();
        assert!(bytes > 100_000, "{bytes}");
        assert_eq!(heading("no mapping"), None);
    }
}
