//! Programs with options that are secret although their names do not say so. Each is as its manual has it.

use super::Secret::{self, Behind, Cookie, PassPhrase, Whole};

/// A program, or a family of them, whose options are the same as far as secrets go.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Names of the binaries.
    pub names: &'static [&'static str],
    /// Letters of options that take a harmless value, attached or as the next word.
    pub valued: &'static str,
    /// Letters of options that take a secret, likewise.
    pub secret: &'static [(char, Secret)],
    /// Long options, without dashes, that take a secret.
    pub long: &'static [(&'static str, Secret)],
    /// What stands right before a secret in the same word.
    pub prefixes: &'static [&'static str],
    /// Options named like secrets that take no value.
    pub switches: &'static [&'static str],
    /// Words that a secret follows.
    pub words: &'static [&'static str],
    /// All this holds only behind one of these words.
    pub after: Option<&'static [&'static str]>,
    /// Its options end at the first word that is none.
    pub ends_at_word: bool,
    /// Takes `user/password@database`.
    pub takes_connect_string: bool,
}

const PLAIN: Program = Program {
    names: &[],
    valued: "",
    secret: &[],
    long: &[],
    prefixes: &[],
    switches: &[],
    words: &[],
    after: None,
    ends_at_word: false,
    takes_connect_string: false,
};

static PROGRAMS: &[Program] = &[
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlshow",
            "mysqlcheck",
            "mysqlslap",
            "mysqlbinlog",
            "mysqlpump",
            "mysqlsh",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-import",
            "mariadb-show",
            "mariadb-check",
            "mariadb-slap",
            "mariadb-binlog",
            "mariadb-backup",
            "mariabackup",
            "xtrabackup",
            "innobackupex",
        ],
        valued: "DehPSu",
        // Attached or asked for at the terminal; the word behind a bare -p is the database.
        prefixes: &["-p"],
        switches: &["password"],
        ..PLAIN
    },
    Program {
        names: &["mycli", "pgcli", "mydumper", "myloader"],
        valued: "DehPSu",
        secret: &[('p', Whole)],
        ..PLAIN
    },
    Program {
        names: &[
            "psql",
            "pg_dump",
            "pg_dumpall",
            "pg_restore",
            "pg_basebackup",
            "pg_isready",
            "pgbench",
            "createdb",
            "dropdb",
            "createuser",
            "dropuser",
            "vacuumdb",
            "reindexdb",
            "clusterdb",
            "htpasswd",
        ],
        switches: &["password"],
        ..PLAIN
    },
    Program {
        names: &["curl"],
        valued: "ACcDdeFhHKmoPQrTtwXxYyz",
        secret: &[('u', Behind(':')), ('U', Behind(':')), ('E', Behind(':')), ('b', Cookie)],
        long: &[
            ("user", Behind(':')),
            ("proxy-user", Behind(':')),
            ("cert", Behind(':')),
            ("proxy-cert", Behind(':')),
            ("cookie", Cookie),
        ],
        ..PLAIN
    },
    Program { names: &["wget", "wget2"], long: &[("user", Behind(':'))], ..PLAIN },
    Program {
        names: &["http", "https", "xh", "xhs", "hey"],
        secret: &[('a', Behind(':'))],
        long: &[("auth", Behind(':'))],
        ..PLAIN
    },
    Program {
        names: &["ab"],
        valued: "ncsbpTvwiXCHVekqdrgzyxmtBu",
        secret: &[('A', Behind(':')), ('P', Behind(':'))],
        ..PLAIN
    },
    Program { names: &["sshpass"], valued: "fdP", secret: &[('p', Whole)], ends_at_word: true, ..PLAIN },
    Program {
        names: &["redis-cli", "valkey-cli", "keydb-cli"],
        valued: "hpstundriD",
        secret: &[('a', Whole)],
        words: &["auth"],
        ..PLAIN
    },
    Program {
        names: &["docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "crane", "oras", "az"],
        valued: "u",
        secret: &[('p', Whole)],
        after: Some(&["login"]),
        ..PLAIN
    },
    Program {
        names: &["skopeo", "buildah", "podman"],
        long: &[("creds", Behind(':')), ("src-creds", Behind(':')), ("dest-creds", Behind(':'))],
        ..PLAIN
    },
    Program {
        names: &["gh"],
        valued: "RroaeB",
        secret: &[('b', Whole)],
        long: &[("body", Whole)],
        after: Some(&["secret"]),
        ..PLAIN
    },
    Program {
        names: &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
            "mongostat",
            "mongotop",
        ],
        valued: "hudcoqf",
        secret: &[('p', Whole)],
        ..PLAIN
    },
    Program {
        names: &[
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldapwhoami",
            "ldapcompare",
            "ldapmodrdn",
        ],
        valued: "DHbdefhlopszUXRY",
        secret: &[('w', Whole)],
        ..PLAIN
    },
    Program {
        names: &["ldappasswd"],
        valued: "DHdehopUXRY",
        secret: &[('w', Whole), ('a', Whole), ('s', Whole)],
        ..PLAIN
    },
    Program {
        names: &["smbclient", "smbget", "rpcclient", "net", "smbcacls", "smbspool"],
        valued: "IpcDWnLdTtm",
        secret: &[('U', Behind('%'))],
        long: &[("user", Behind('%'))],
        ..PLAIN
    },
    Program {
        names: &["lftp"],
        valued: "epf",
        secret: &[('u', Behind(','))],
        long: &[("user", Behind(','))],
        ..PLAIN
    },
    Program { names: &["ipmitool"], valued: "HUIpLfECyotbBTlKkzNR", secret: &[('P', Whole)], ..PLAIN },
    Program { names: &["zip", "unzip"], valued: "bntxdi", secret: &[('P', Whole)], ..PLAIN },
    Program { names: &["7z", "7za", "7zr", "7zz", "rar", "unrar"], prefixes: &["-p", "-hp"], ..PLAIN },
    Program { names: &["xfreerdp", "xfreerdp3", "wlfreerdp"], prefixes: &["/p:", "/gp:"], ..PLAIN },
    Program { names: &["rdesktop"], valued: "udscngk", secret: &[('p', Whole)], ..PLAIN },
    Program { names: &["useradd", "usermod"], valued: "bcdefgGkKlsuRZ", secret: &[('p', Whole)], ..PLAIN },
    Program {
        names: &["openssl"],
        long: &[
            ("pass", PassPhrase),
            ("passin", PassPhrase),
            ("passout", PassPhrase),
            ("passwd", PassPhrase),
            ("k", Whole),
            ("K", Whole),
        ],
        ..PLAIN
    },
    Program {
        names: &["sqlplus", "sqlldr", "exp", "imp", "expdp", "impdp", "rman", "sqlcl"],
        takes_connect_string: true,
        ..PLAIN
    },
    Program { names: &["sqlcmd", "bcp"], valued: "SUdiQqo", secret: &[('P', Whole)], ..PLAIN },
    Program { names: &["isql", "cqlsh"], valued: "ukef", secret: &[('p', Whole), ('P', Whole)], ..PLAIN },
    Program {
        names: &["vault", "bao"],
        words: &["login", "unwrap", "unseal", "lookup", "revoke", "renew"],
        ..PLAIN
    },
    Program {
        names: &["rclone"],
        words: &[
            "obscure",
            "reveal",
            "pass",
            "pass2",
            "password",
            "token",
            "key",
            "secret_access_key",
            "client_secret",
        ],
        ..PLAIN
    },
    Program {
        names: &["nmcli"],
        words: &["password", "wifi-sec.psk", "802-11-wireless-security.psk"],
        ..PLAIN
    },
    Program {
        names: &[
            "snmpget",
            "snmpgetnext",
            "snmpwalk",
            "snmpbulkwalk",
            "snmpbulkget",
            "snmpset",
            "snmptrap",
            "snmpstatus",
        ],
        valued: "vulaxneEtrmMLOIZ",
        secret: &[('c', Whole), ('A', Whole), ('X', Whole)],
        ..PLAIN
    },
    Program { names: &["etcdctl"], long: &[("user", Behind(':'))], ..PLAIN },
    Program {
        names: &["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"],
        valued: "hputmfiILqkACEFRTVWDxU",
        secret: &[('P', Whole)],
        ..PLAIN
    },
    Program { names: &["influx"], secret: &[('t', Whole), ('p', Whole)], ..PLAIN },
    Program { names: &["consul"], long: &[("encrypt", Whole)], ..PLAIN },
    // Names a secret that they keep.
    Program {
        names: &["docker", "podman", "nerdctl", "buildah"],
        long: &[("secret", Secret::Nothing)],
        ..PLAIN
    },
    // The word behind -c is a script, not an assignment to the end of it.
    Program { names: &["sh", "bash", "dash", "ash", "zsh", "ksh", "su", "runuser"], valued: "c", ..PLAIN },
    // For them --auth is a switch.
    Program { names: &["mongod", "mongos"], switches: &["auth"], ..PLAIN },
];

/// The program of this name, if it is among those that are known.
pub fn find(name: &str) -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(move |program| program.names.contains(&name))
}

impl Program {
    /// Reads a word as letters of options behind one dash, the way of getopt(3): up to the first letter that takes a
    /// value. Returns the word up to there, what is attached, and what of it is secret.
    pub fn letters<'w>(&self, word: &'w str) -> Option<(&'w str, &'w str, Secret)> {
        let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'))?;
        for (index, letter) in letters.char_indices() {
            let secret = self.secret.iter().find(|(secret, _)| *secret == letter).map(|(_, secret)| *secret);
            let secret = secret.or_else(|| self.valued.contains(letter).then_some(Secret::Nothing));
            if let Some(secret) = secret {
                let (head, value) = word.split_at(1 + index + letter.len_utf8());
                return Some((head, value, secret));
            }
            if !letter.is_ascii_alphanumeric() {
                return None;
            }
        }
        None
    }
}
