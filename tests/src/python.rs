//! A Python of our own with the packages of a list, made once for each content of it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{command, host};

/// A virtual environment under the target directory.
pub struct Python {
    directory: PathBuf,
}

impl Python {
    /// The one with `requirements.txt`. Finds it or makes it; the first time this downloads packages.
    pub fn prepare() -> Result<Self> {
        Self::with("requirements.txt")
    }

    /// Likewise with another list of this crate.
    pub fn with(list: &str) -> Result<Self> {
        let requirements = host::source(list);
        let mut hasher = DefaultHasher::new();
        fs::read(&requirements)?.hash(&mut hasher);
        let target = host::built("traffic")?.parent().and_then(Path::parent).context("no target")?.to_owned();
        let directory = target.join(format!("python-{:016x}", hasher.finish()));
        fs::create_dir_all(&directory)?;
        // Two tests may want it at once.
        let lock = File::create(directory.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let python = Self { directory };
        let complete = python.directory.join("complete");
        if !complete.exists() {
            let environment = python.directory.join("environment");
            command::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))
                .context("python3 with its venv module is needed (package python3-venv)")?;
            command::output(
                Command::new(environment.join("bin/python"))
                    .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                    .arg(&requirements),
            )?;
            File::create(complete)?;
        }
        Ok(python)
    }

    /// A command that runs one of this crate's Python programs.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join("environment/bin/python"));
        command.arg(host::source("programs").join(name));
        command
    }

    /// A command that runs a program which a package brings.
    pub fn installed(&self, name: &str) -> Command {
        Command::new(self.directory.join("environment/bin").join(name))
    }

    /// A file that a package put beside its modules.
    pub fn package_file(&self, relative: &str) -> Result<PathBuf> {
        let libraries = self.directory.join("environment/lib");
        let versions = fs::read_dir(&libraries)?.collect::<Result<Vec<_>, _>>()?;
        versions
            .iter()
            .map(|version| version.path().join("site-packages").join(relative))
            .find(|path| path.is_file())
            .with_context(|| format!("no {relative} under {}", libraries.display()))
    }
}
