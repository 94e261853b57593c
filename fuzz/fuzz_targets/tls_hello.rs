//! Any bytes as the first that a TLS client sent.
//!
//! `cargo +nightly fuzz run tls_hello -- -max_len=4096 -max_total_time=600`

#![no_main]

use libfuzzer_sys::fuzz_target;
use netsonde_tls::read_hello;

fuzz_target!(|input: &[u8]| {
    if let Ok(hello) = read_hello(input) {
        // A name is what is left of dots and capitals.
        assert!(hello.server_name.is_none_or(|name| !name.is_empty() && !name.ends_with('.')));
    }
});
