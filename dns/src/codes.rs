//! Numbers of the DNS registries and their names: record types and response codes.
//!
//! The names are those that IANA registers (<https://www.iana.org/assignments/dns-parameters>), because that is what
//! tools and people write. hickory-proto has names as well, but not of all types in use, writes response codes as
//! sentences, and takes code 16 for BADSIG, which travels inside TSIG records and never in a message's own code.

use std::borrow::Cow;
use std::fmt;

/// The type of a record or a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address, RFC 1035.
    pub const A: Self = Self(1);
    /// Alias, RFC 1035.
    pub const CNAME: Self = Self(5);
    /// IPv6 address, RFC 3596.
    pub const AAAA: Self = Self(28);
    /// The pseudo-record of EDNS, RFC 6891.
    pub const OPT: Self = Self(41);
    /// Service binding, RFC 9460.
    pub const SVCB: Self = Self(64);
    /// Service binding of HTTP, RFC 9460.
    pub const HTTPS: Self = Self(65);
    /// Asks for records of all types, RFC 1035.
    pub const ANY: Self = Self(255);

    /// The registered mnemonic, such as `AAAA`; `TYPE` and the number where there is none (RFC 3597, section 5).
    #[must_use]
    pub fn mnemonic(self) -> Cow<'static, str> {
        name_of(RECORD_TYPES, self.0).map_or_else(|| Cow::Owned(format!("TYPE{}", self.0)), Cow::Borrowed)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mnemonic())
    }
}

/// What a server says of a query: four bits of the header, and eight more of EDNS where the message has it
/// (RFC 6891, section 6.1.3). 0 to 4,095.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseCode(pub u16);

impl ResponseCode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server could not read the query.
    pub const FORMERR: Self = Self(1);
    /// The server could not find out.
    pub const SERVFAIL: Self = Self(2);
    /// There is no such name.
    pub const NXDOMAIN: Self = Self(3);
    /// The server does not do this.
    pub const NOTIMP: Self = Self(4);
    /// The server does not want to.
    pub const REFUSED: Self = Self(5);
    /// The server does not know this version of EDNS.
    pub const BADVERS: Self = Self(16);

    /// The registered name in capitals, such as `NXDOMAIN`; `RCODE` and the number where there is none.
    #[must_use]
    pub fn mnemonic(self) -> Cow<'static, str> {
        name_of(RESPONSE_CODES, self.0).map_or_else(|| Cow::Owned(format!("RCODE{}", self.0)), Cow::Borrowed)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mnemonic())
    }
}

fn name_of(table: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    table.binary_search_by_key(&number, |(n, _)| *n).ok().map(|i| table[i].1)
}

/// Registry "DNS RCODEs", by number. 16 is BADVERS: BADSIG shares the number, but stands in TSIG records only.
const RESPONSE_CODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

/// Registry "Resource Record (RR) TYPEs", by number, without those that were never more than experiments.
const RECORD_TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (66, "DSYNC"),
    (99, "SPF"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (128, "NXNAME"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (259, "DOA"),
    (260, "AMTRELAY"),
    (261, "RESINFO"),
    (262, "WALLET"),
    (32768, "TA"),
    (32769, "DLV"),
];

#[cfg(test)]
mod tests {
    use hickory_proto::rr;

    use super::*;

    #[test]
    fn the_tables_are_in_order_and_without_repetition() {
        for table in [RESPONSE_CODES, RECORD_TYPES] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0), "the search is binary");
        }
    }

    #[test]
    fn numbers_have_the_names_that_hickory_gives_them() {
        let mut compared = 0;
        for (number, name) in RECORD_TYPES {
            let theirs = rr::RecordType::from(*number);
            if !matches!(theirs, rr::RecordType::Unknown(_)) {
                assert_eq!(*name, theirs.to_string());
                compared += 1;
            }
        }
        assert!(compared > 30, "hickory knows {compared} of them");
    }

    #[test]
    fn what_has_no_name_is_shown_by_number() {
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
        assert_eq!(RecordType(0).to_string(), "TYPE0");
        assert_eq!(ResponseCode(12).to_string(), "RCODE12");
        assert_eq!(ResponseCode(4095).to_string(), "RCODE4095");
        assert_eq!(ResponseCode::BADVERS.to_string(), "BADVERS");
    }
}
