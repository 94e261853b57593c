//! What people write, and how they are told what is wrong with it: [words] of closed sets of values, and [TOML](toml)
//! whose keys have places.
//!
//! What a key or a word means is the reader's matter.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod toml;
pub mod words;
