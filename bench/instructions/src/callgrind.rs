//! Running a test under callgrind, and reading what it wrote.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use netsonde_counted::{SAYS, SECTION};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// `PR_GET_AUXV` of prctl(2).
const GET_AUXV: u64 = 0x4155_5856;

/// What one test's path came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    /// In the section, and all that it calls.
    pub instructions: u64,
    /// How many units that was.
    pub units: u64,
    /// Of what.
    pub unit: String,
}

/// Has programs that this thread starts from now on learn of the host from `/proc/self/auxv`, which valgrind makes for
/// them. From Linux 6.4 on rustix asks prctl(2) first, which valgrind 3.19 hands to the kernel as it is, and that tells
/// of a vDSO which is not there under valgrind: the first look at the clock would crash.
///
/// # Errors
///
/// When the kernel does not take the filter.
pub fn hide_auxv() -> Result<()> {
    let asks = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, GET_AUXV)?;
    let rules = [(libc::SYS_prctl, vec![SeccompRule::new(vec![asks])?])].into();
    let refused = SeccompAction::Errno(libc::EINVAL.unsigned_abs());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).context("cannot filter prctl(2)")
}

/// Runs one test of a test binary, in the folder of its package, with nothing of this environment but the path.
///
/// # Errors
///
/// When it cannot be run, fails, or marks nothing to count.
pub fn run(executable: &Path, test: &str, directory: &Path, path: &str) -> Result<Collected> {
    let scratch = tempfile::tempdir()?;
    let profile = scratch.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect=*{SECTION}*"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(executable)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .output()
        .context("cannot run valgrind")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{test} failed under valgrind ({}):\n{}", output.status, said.trim_end());
    }
    let (units, unit) = units(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{test} does not say what it counts"))?;
    let text = fs::read_to_string(&profile).context("callgrind wrote nothing")?;
    let instructions = total(&text).with_context(|| format!("no instructions were collected of {test}"))?;
    Ok(Collected { instructions, units, unit })
}

/// How many units of what a test said that it counts.
fn units(said: &str) -> Option<(u64, String)> {
    let (_, rest) = said.split_once(SAYS)?;
    let (units, unit) = rest.lines().next()?.split_once(' ')?;
    let units = units.parse().ok().filter(|units| *units > 0)?;
    Some((units, unit.to_owned()))
}

/// All instructions of a profile; `None` where there are none, or where something else was counted
/// (Callgrind Format Specification, "events" and "totals").
fn total(profile: &str) -> Option<u64> {
    let after = |key: &str| profile.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if after("events:")? != "Ir" {
        return None;
    }
    after("totals:")?.parse().ok().filter(|total| *total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 7\ncmd:  ./x\npart: 1\n\n\n\
        desc: I1 cache: \ndesc: Trigger: Program termination\n\npositions: line\nevents: Ir\nsummary: 4321\n\n\n\
        ob=(1) /x\nfl=(1) a.rs\nfn=(1) counted_section\n7 21\ncfn=(2) path\ncalls=1 0 \n7 4300\n\ntotals: 4321\n";

    #[test]
    fn the_total_of_a_profile_is_its_instructions() {
        assert_eq!(total(PROFILE), Some(4321));
        assert_eq!(total(&PROFILE.replace("Ir", "Ir Bc Bcm")), None, "other events are counted as well");
        assert_eq!(total(&PROFILE.replace("4321", "0")), None, "nothing was collected");
        assert_eq!(total("events: Ir\n"), None, "it was cut off");
    }

    #[test]
    fn a_test_says_what_it_counts() {
        let said =
            "\nrunning 1 test\ntest a::counted::b ... counted: 400 flow with a name\nok\n\ntest result: ok.";
        assert_eq!(units(said), Some((400, "flow with a name".to_owned())));
        assert_eq!(units("test a::counted::b ... ok\n"), None);
        assert_eq!(units("counted: 0 flow\n"), None, "nothing to divide by");
    }
}
