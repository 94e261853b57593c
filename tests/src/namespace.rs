//! Network namespaces that a test makes and that are gone after it: one alone, or pairs joined by veth.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::cleanup::CleanUp;
use crate::command;

/// A network namespace with its loopback up; deleted on drop.
pub struct Namespace {
    name: String,
    cleanup: CleanUp,
}

impl Namespace {
    /// Makes one under a name that no other test has.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("netsonde-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        command::line(&format!("ip netns add {name}"))?;
        let mut cleanup = CleanUp::default();
        let doomed = name.clone();
        cleanup.push(move || {
            if let Err(error) = command::line(&format!("ip netns delete {doomed}")) {
                eprintln!("a namespace is left behind: {error:#}");
            }
        });
        let namespace = Self { name, cleanup };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name that ip-netns(8) knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it. `nsenter` and not `ip netns exec`: nothing but the network shall differ.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Gives it a resolv.conf and a hosts file of its own, for programs that run by `command_with_files`.
    pub fn resolve_by(&mut self, resolv_conf: &str, hosts: &str) -> Result<()> {
        // ip-netns(8): its files are mounted over those in /etc.
        let directory = PathBuf::from("/etc/netns").join(&self.name);
        fs::create_dir_all(&directory)?;
        let doomed = directory.clone();
        self.cleanup.push(move || {
            if let Err(error) = fs::remove_dir_all(&doomed) {
                eprintln!("{} is left behind: {error}", doomed.display());
            }
        });
        fs::write(directory.join("resolv.conf"), resolv_conf)?;
        fs::write(directory.join("hosts"), hosts)?;
        Ok(fs::write(directory.join("nsswitch.conf"), "hosts: files dns\n")?)
    }

    /// A command that will run in it and sees its files.
    pub fn command_with_files(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command line in it.
    pub fn run(&self, words: &str) -> Result<String> {
        let mut words = words.split_whitespace();
        let program = words.next().context("an empty command line")?;
        command::output(self.command(Path::new(program)).args(words))
    }

    /// Runs `ip` on it.
    pub fn ip(&self, words: &str) -> Result<String> {
        command::line(&format!("ip -n {} {words}", self.name))
    }

    /// Sets a kernel parameter of it.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        command::output(self.command(Path::new("sysctl")).args(["-qw", &format!("{name}={value}")])).map(drop)
    }

    /// Drops incoming packets that an nftables expression matches.
    pub fn drop_incoming(&self, expression: &str) -> Result<()> {
        self.run("nft add table inet loss")?;
        self.run("nft add chain inet loss in { type filter hook input priority 0 ; }")?;
        self.run(&format!("nft add rule inet loss in {expression} counter drop")).map(drop)
    }

    /// How many packets `drop_incoming` has dropped.
    pub fn dropped(&self) -> Result<u64> {
        let rules = self.run("nft list table inet loss")?;
        let words: Vec<&str> = rules.split_whitespace().collect();
        let counts = words.windows(3).filter(|words| words[0] == "counter" && words[1] == "packets");
        counts.map(|words| words[2].parse::<u64>().context("a count of packets")).sum()
    }

    /// The inode number by which the kernel knows it.
    pub fn inode(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(format!("/run/netns/{}", self.name))?.ino())
    }

    /// Joins two namespaces by a cable: `interface` in both, the first with host number 1, the second with 2, in
    /// 10.NETWORK.0.0/24 and fd00:NETWORK::/64.
    pub fn join(&self, other: &Namespace, interface: &str, network: u8) -> Result<()> {
        self.ip(&format!("link add {interface} type veth peer name {interface} netns {}", other.name))?;
        for (namespace, number) in [(self, 1), (other, 2)] {
            namespace.ip(&format!("address add 10.{network}.0.{number}/24 dev {interface}"))?;
            // Without duplicate address detection the address can be used at once.
            namespace.ip(&format!("address add fd00:{network}::{number}/64 dev {interface} nodad"))?;
            namespace.ip(&format!("link set {interface} up"))?;
        }
        Ok(())
    }
}

/// Two namespaces joined by one cable.
pub struct Pair {
    /// Has 10.77.0.1 and fd00:77::1.
    pub client: Namespace,
    /// Has 10.77.0.2 and fd00:77::2.
    pub server: Namespace,
}

impl Pair {
    /// Makes both.
    pub fn new() -> Result<Self> {
        let pair = Self { client: Namespace::new()?, server: Namespace::new()? };
        pair.client.join(&pair.server, "cable", 77)?;
        Ok(pair)
    }

    /// Makes every segment a packet of its own. Else up to 64 KiB travel in one, which `InSegs` counts as one
    /// and a socket as the segments that it stands for.
    pub fn send_single_segments(&self) -> Result<()> {
        for namespace in [&self.client, &self.server] {
            namespace.ip("link set dev cable gso_max_segs 1")?;
        }
        Ok(())
    }

    /// Gives both ends a rate and a queue. A bare veth has none, and TCP over it retransmits by itself.
    pub fn shape(&self) -> Result<()> {
        for namespace in [&self.client, &self.server] {
            namespace.run("tc qdisc add dev cable root tbf rate 50mbit burst 32kb latency 400ms")?;
        }
        Ok(())
    }
}
