//! Messages for the tests of several modules. They are also what the fuzz targets begin with (`fuzz/corpus`).

/// Messages by name, in hexadecimal. Queries of glibc are from its own wire, the others were written by dnspython
/// 2.9.2, which shares no code with hickory-proto; those with a bit or a pointer that it would not write were changed
/// by hand.
pub(crate) const CAPTURED: &[(&str, &str)] = &[
    // glibc 2.36 with `options edns0` asks for an A record.
    ("query_a", "01a10100000100000000000103776562076578616d706c6503636f6d000001000100002904b0000000000000"),
    // And for the AAAA record beside it.
    (
        "query_aaaa",
        "c5a00100000100000000000103776562076578616d706c6503636f6d00001c000100002904b0000000000000",
    ),
    // Two aliases, then two addresses.
    (
        "cname_chain_a",
        "01a18180000100040000000103776562076578616d706c6503636f6d0000010001c00c000500010000012c0010026c62\
         076578616d706c65036e657400c02d000500010000003c001604656467650363646e076578616d706c65036f726700c0\
         4900010001000000140004c0000250c04900010001000000140004c00002510000292000000000000000",
    ),
    // The same for IPv6.
    (
        "cname_chain_aaaa",
        "c5a08180000100030000000103776562076578616d706c6503636f6d00001c0001c00c000500010000012c0010026c62\
         076578616d706c65036e657400c02d000500010000003c001604656467650363646e076578616d706c65036f726700c0\
         49001c000100000014001020010db80000000000000000000000800000292000000000000000",
    ),
    // A name in mixed case, as the program wrote it.
    (
        "query_mixed_case",
        "13c601000001000000000001074e6f7468696e67074578616d706c6503636f6d000001000100002904b0000000000000",
    ),
    // No such name, with the SOA of the zone.
    (
        "nxdomain",
        "13c681830001000000010001074e6f7468696e67074578616d706c6503636f6d0000010001c014000600010000038400\
         20026e73c01404686f7374c01478c275f500001c2000000384001275000000012c0000292000000000000000",
    ),
    // An address, no EDNS.
    ("a", "100181800001000100000000076578616d706c6503636f6d0000010001c00c0001000100000e100004c0000201"),
    // Two addresses, EDNS with 4,096 bytes.
    (
        "aaaa_edns_4096",
        "100281800001000200000001076578616d706c6503636f6d00001c0001c00c001c000100000e10001020010db8000000\
         000000000000000001c00c001c000100000e10001020010db80000000000000000000000020000291000000000000000",
    ),
    // A failure with an extended error (RFC 8914).
    (
        "servfail_ede",
        "10038182000100000000000105626f677573076578616d706c6503636f6d000001000100002904d0000000000017000f\
         001300067369676e61747572652065787069726564",
    ),
    // TC is set, nothing answered.
    ("truncated", "10048380000100000000000003626967076578616d706c6503636f6d0000100001"),
    // A code of more than four bits.
    ("badvers", "100581800001000000000001076578616d706c6503636f6d000001000100002904d0010000000000"),
    // Service bindings with address hints.
    (
        "https_hints",
        "10068180000100020000000103777777076578616d706c6503636f6d0000410001c00c004100010000012c002d000100\
         0001000602683302683200040008c000020ac000020b0006001020010db8000000000000000000000010c00c00410001\
         0000012c001c0002066261636b7570076578616d706c65036e6574000003000220fb0000292000000000000000",
    ),
    // A service binding that is an alias.
    (
        "https_alias",
        "100781800001000100000000076578616d706c6503636f6d0000410001c00c004100010000012c001300000373766307\
         6578616d706c65036e657400",
    ),
    // How to reach a resolver by TLS (RFC 9462).
    (
        "svcb",
        "100881800001000100000000045f646e73087265736f6c76657204617270610000400001c00c004000010000003c0023\
         000103646e73076578616d706c65036e6574000001000403646f7400040004c0000235",
    ),
    // Multicast DNS, asking for a response by unicast.
    ("mdns_unicast_response", "000000000001000000000000077072696e746572056c6f63616c0000018001"),
    // Multicast DNS: no question, and the bit that voids older records.
    ("mdns_response", "000084000000000100000000077072696e746572056c6f63616c0000018001000000780004c0000263"),
    // LLMNR (RFC 4795).
    ("llmnr_query", "100900000001000000000000066c6170746f700000010001"),
    // And its response.
    ("llmnr_response", "100980000001000100000000066c6170746f700000010001c00c000100010000001e0004c000024d"),
    // The root is asked for, with DO.
    ("root_query", "100a0100000100000000000100000200010000291000000080000000"),
    // Class CH.
    (
        "chaos",
        "100b818000010001000000000776657273696f6e0462696e640000100003c00c0010000300000000000807756e626f75\
         6e64",
    ),
    // Another opcode.
    ("notify", "100c21000001000000000000076578616d706c6503636f6d0000060001"),
    // A server that gives back no question.
    ("formerr_header_only", "100d81810000000000000000"),
    // Dots, backslashes and other bytes within labels.
    (
        "odd_bytes",
        "100e8180000100010000000008612e625c6320c3a903582279076578616d706c650000010001c00c0001000100000009\
         0004c0000202",
    ),
    // The name of the answer points to itself.
    (
        "compression_loop",
        "200181800001000100000000046c6f6f70076578616d706c650000010001c01e000100010000003c0004c0000201",
    ),
    // The question points to itself.
    ("compression_loop_question", "200201000001000000000000c00c00010001"),
];

/// The bytes of one of [`CAPTURED`].
pub(crate) fn captured(name: &str) -> Vec<u8> {
    let (_, digits) = CAPTURED.iter().find(|(n, _)| *n == name).expect("a message of that name");
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[test]
fn the_fuzz_corpus_begins_with_these_messages() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/dns_message");
    for (name, _) in CAPTURED {
        assert_eq!(std::fs::read(corpus.join(name)).unwrap(), captured(name), "{name}");
    }
}
