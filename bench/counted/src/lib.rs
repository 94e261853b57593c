//! Marks the part of a test whose instructions are counted.
//!
//! A test in a module named `counted` drives one hot path with input that is always the same, and checks what came of
//! it; [`count`] is around the path alone. `cargo test` runs it as any other. `make instructions` runs it in a process
//! of its own under callgrind, which collects while [`SECTION`] is on the stack and nowhere else.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::hint::black_box;

/// The function that callgrind is told to collect in; no other may have this in its name.
pub const SECTION: &str = "counted_section";

/// What [`count`] says first on a line of its own: then follow the number of units, a space and the unit's name.
pub const SAYS: &str = "counted: ";

/// Runs a path that does something `units` times, such as taking in a `connection`.
#[allow(clippy::print_stdout, reason = "by how much the count is to be divided, for who counts")]
pub fn count<R>(units: usize, unit: &str, path: impl FnOnce() -> R) -> R {
    println!("{SAYS}{units} {unit}");
    let mut path = Some(path);
    let mut result = None;
    counted_section(&mut || result = path.take().map(|path| path()));
    result.expect("the section runs its path once")
}

/// Neither generic nor inlined, so that it is one symbol; `black_box` keeps the call from becoming a jump.
#[inline(never)]
fn counted_section(path: &mut dyn FnMut()) {
    path();
    black_box(());
}
