//! From results to pages: `docs/benchmarks.md`, its pictures, and the numbers in pages that people write. Nothing is measured here, and what
//! is written depends on nothing but the files of results and notes: the same ones give the same bytes.

mod blocks;
#[cfg(test)]
mod fixtures;
pub mod goals;
mod notes;
mod page;
mod plots;
mod tables;
mod template;
#[cfg(test)]
mod tests;
pub mod units;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::results::{Measurement, Scope};
use goals::{GOALS, Goal, Results, Verdict};
use notes::Notes;

/// Pages that people write and that have marks, from the root of the repository.
const PAGES: [&str; 3] = ["README.md", "docs/fleet.md", "docs/guide.md"];
const PAGE: &str = "docs/benchmarks.md";
const PICTURES: &str = "docs/benchmarks";
const NOTES: &str = "bench/notes";

/// Writes all pages under the root of the repository anew, from results that can be quoted. The files that changed.
pub fn write(root: &Path, results: &Path) -> Result<Vec<PathBuf>> {
    let made = make(root, results)?;
    let mut changed = Vec::new();
    for path in left(root, &made)? {
        fs::remove_file(root.join(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
        changed.push(path);
    }
    for (path, text) in made {
        let to = root.join(&path);
        if fs::read_to_string(&to).is_ok_and(|before| before == text) {
            continue;
        }
        let folder = to.parent().context("a page has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
        changed.push(path);
    }
    Ok(changed)
}

/// All pages by their paths from the root of the repository, as they should be with the results in this directory.
fn make(root: &Path, directory: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let results = if directory.is_dir() { Measurement::read_all(directory)? } else { Results::new() };
    for Measurement { name, scope, .. } in results.values() {
        ensure!(*scope == Scope::Full, "{name} is a quick measurement, which is not quoted");
        let file = format!("{name}.json");
        ensure!(directory.join(&file).is_file(), "{name} is not in {file}, where pages say it is");
    }
    let mut made = BTreeMap::new();
    let mut notes = notes::read(&root.join(NOTES))?;
    for (name, text) in &mut notes {
        let file = format!("{NOTES}/{name}.md");
        let filled = template::fill(&file, text, &Filler { results: &results, blocks: None })?;
        // The page that has it is one folder nearer to the root.
        *text = template::without_marks(&filled).replace("](../../", "](../");
        made.insert(PathBuf::from(file), filled);
    }
    let material = Material::new(&results, &notes)?;
    for page in PAGES {
        let path = root.join(page);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let from = if page.contains('/') { "../" } else { "" };
        let filler = Filler { results: &results, blocks: Some((&material, from)) };
        made.insert(PathBuf::from(page), template::fill(page, &text, &filler)?);
    }
    made.insert(PathBuf::from(PAGE), page::page(&material));
    let pictures = material.pictures.iter();
    made.extend(
        pictures
            .map(|picture| (Path::new(PICTURES).join(format!("{}.svg", picture.name)), picture.svg.clone())),
    );
    Ok(made)
}

/// Pictures of what is measured no longer.
fn left(root: &Path, made: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>> {
    let directory = root.join(PICTURES);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = Path::new(PICTURES).join(entry?.file_name());
        if path.extension().is_some_and(|extension| extension == "svg") && !made.contains_key(&path) {
            left.push(path);
        }
    }
    left.sort();
    Ok(left)
}

/// Which of all that can be measured leaves a result of this name, in the order in which it is done.
fn place(name: &str) -> Option<usize> {
    // A dimension of growth has a result for each of its costs.
    let cost_of = |dimension: &str| {
        let rest = dimension.starts_with("growth-").then(|| name.strip_prefix(dimension)).flatten();
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    crate::names().iter().position(|known| *known == name || cost_of(known))
}

/// Results in the order in which they are measured; those that nothing measures come after them.
fn ordered(results: &Results) -> Vec<&Measurement> {
    let mut ordered: Vec<&Measurement> = results.values().collect();
    ordered.sort_by_key(|one| place(&one.name).unwrap_or(usize::MAX));
    ordered
}

/// What pages are made of.
struct Material<'a> {
    results: &'a Results,
    notes: &'a Notes,
    verdicts: Vec<(&'static Goal, Verdict)>,
    pictures: Vec<plots::Picture>,
}

impl<'a> Material<'a> {
    /// An error if a goal is missed, or a growth worse than linear, and not explained.
    fn new(results: &'a Results, notes: &'a Notes) -> Result<Self> {
        let judge = |goal: &'static Goal| Ok((goal, goal.judge(results)?));
        let verdicts = GOALS.iter().map(judge).collect::<Result<Vec<_>>>()?;
        notes::ensure_explained(&verdicts, results, notes)?;
        let pictures = plots::all(results)?;
        Ok(Self { results, notes, verdicts, pictures })
    }
}

/// What marks in pages stand for.
struct Filler<'a> {
    results: &'a Results,
    /// What they are made of, and the way from the page to the root of the repository; none where blocks make no sense.
    blocks: Option<(&'a Material<'a>, &'a str)>,
}

impl template::Names for Filler<'_> {
    fn block(&self, name: &str) -> Result<String> {
        let (material, from) = self.blocks.context("there are no blocks here")?;
        blocks::block(name, material, from)
    }

    fn value(&self, name: &str) -> Result<String> {
        values::value(name, self.results)
    }
}
