//! Keeps the pages true: those in the repository are what the renderer makes of the results in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::goals::{GOALS, Results};
use super::notes::Notes;
use super::*;
use crate::results;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_committed_pages_are_what_the_results_say() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make benchmarks-page` says that pages are to be written"
    )]
    let bless = std::env::var("NETSONDE_BLESS").is_ok_and(|value| value == "1");
    if bless {
        write(&root(), &results::quoted()).unwrap();
    }
    let made = make(&root(), &results::quoted()).unwrap();
    for (path, made) in &made {
        let committed = fs::read_to_string(root().join(path)).unwrap_or_default();
        // Not assert_eq: two whole pages side by side show nobody what differs.
        let differs = committed.lines().zip(made.lines()).find(|(a, b)| a != b);
        let path = path.display();
        assert!(committed == *made, "{path} is out of date; run `make benchmarks-page`\n{differs:#?}");
    }
    assert_eq!(left(&root(), &made).unwrap(), Vec::<PathBuf>::new(), "pictures of nothing");
}

#[test]
fn no_page_has_marks_that_nobody_fills() {
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let page = Path::new(folder).join(path.file_name().unwrap());
            if path.extension().is_none_or(|extension| extension != "md")
                || PAGES.iter().any(|one| page == Path::new(one))
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let marked = ["<!-- value:", "<!-- results:"].iter().any(|mark| text.contains(mark));
            assert!(!marked, "{} has marks and is not among the pages", page.display());
        }
    }
}

#[test]
fn every_goal_is_of_something_that_is_measured() {
    for goal in GOALS {
        assert!(
            crate::names().contains(&goal.file()),
            "nothing measures {}, for the goal {}",
            goal.file(),
            goal.name
        );
    }
}

#[test]
fn the_page_has_a_verdict_for_every_goal_and_a_note_for_every_miss() {
    let (results, notes) = (fixtures::results(), fixtures::notes());
    let material = Material::new(&results, &notes).unwrap();
    let page = page::page(&material);
    for (goal, verdict) in &material.verdicts {
        let row = page.lines().find(|line| line.starts_with(&format!("| {} |", goal.title))).unwrap();
        let missed = matches!(verdict, Verdict::Missed(_));
        assert!(row.contains(verdict.word()), "{row}");
        assert_eq!(row.contains(&format!("(#why-{}-is-missed)", goal.name)), missed, "{row}");
        assert_eq!(page.contains(&format!("\n### Why {} is missed\n", goal.name)), missed, "{}", goal.name);
        assert_eq!(page.contains(&format!("the fault of *{}*", goal.name)), missed, "{}", goal.name);
    }
    assert!(page.contains("**Worse than linear.** It is the fault of *growth-sockets-memory*."), "{page}");
    let error = Material::new(&results, &Notes::new()).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("missed and not explained: keep-alive"), "{error}");
}

#[test]
fn the_page_shows_every_measurement_and_links_to_what_exists() {
    let (results, notes) = (fixtures::results(), fixtures::notes());
    let material = Material::new(&results, &notes).unwrap();
    let page = page::page(&material);
    for name in results.keys() {
        assert!(page.contains(&format!("(../bench/results/{name}.json)")), "{name}");
    }
    let pictures: BTreeSet<&str> = material.pictures.iter().map(|picture| picture.name.as_str()).collect();
    let expected = [
        "growth-sockets-memory",
        "growth-sockets-time",
        "latencies",
        "peers-connection-per-request",
        "ratios",
    ];
    assert_eq!(pictures.iter().copied().collect::<Vec<_>>(), expected);
    for name in pictures {
        assert_eq!(page.matches(&format!("(benchmarks/{name}.svg)")).count(), 1, "{name}");
    }
    let anchors: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for (_, after) in page.match_indices("](#").map(|(begin, mark)| page.split_at(begin + mark.len())) {
        let anchor = after.split(')').next().unwrap_or_default();
        assert!(anchors.iter().any(|known| known == anchor), "no heading is {anchor}");
    }
}

#[test]
fn pictures_are_xml_and_the_same_each_time() {
    let results = fixtures::results();
    let (one, other) = (plots::all(&results).unwrap(), plots::all(&results).unwrap());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.svg, other.svg);
        assert!(one.svg.starts_with("<svg ") && one.svg.trim_end().ends_with("</svg>"), "{}", one.svg);
        assert!(one.svg.contains("role=\"img\" aria-labelledby=\"title description\""), "{}", one.svg);
        assert!(!one.description.contains("<svg") && !one.svg.contains("<made>"), "{}", one.svg);
        assert!(!one.svg.contains("NaN") && !one.svg.contains("inf\""), "{}", one.svg);
    }
}

#[test]
fn without_results_the_page_says_so() {
    let (results, notes) = (Results::new(), Notes::new());
    let material = Material::new(&results, &notes).unwrap();
    let page = page::page(&material);
    assert!(page.contains("Nothing has been measured"), "{page}");
    assert_eq!(page.matches("| not measured |").count(), GOALS.len(), "{page}");
    assert!(!page.contains("## Loads") && material.pictures.is_empty(), "{page}");
}

/// A repository with results, pages and notes of its own.
fn repository(results: &Results) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["docs/benchmarks", "bench/notes", "bench/results"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for measurement in results.values() {
        measurement.write(&root.path().join("bench/results")).unwrap();
    }
    for (name, text) in fixtures::notes() {
        let text =
            format!("{text}See [why](../../DECISIONS.md): <!-- value: bpf/connection --><!-- /value -->.\n");
        fs::write(root.path().join(format!("bench/notes/{name}.md")), text).unwrap();
    }
    fs::write(root.path().join("README.md"), "# A\n\n<!-- results: costs -->\n<!-- /results -->\n").unwrap();
    fs::write(root.path().join("docs/fleet.md"), "no marks\n").unwrap();
    fs::write(root.path().join("docs/guide.md"), "It takes <!-- value: bpf/connection --><!-- /value -->.\n")
        .unwrap();
    fs::write(root.path().join("docs/benchmarks/peers-gone.svg"), "<svg/>").unwrap();
    root
}

fn written(root: &Path) -> Result<Vec<String>> {
    let changed = write(root, &root.join("bench/results"))?;
    Ok(changed.into_iter().map(|path| path.display().to_string()).collect())
}

#[test]
fn writing_changes_what_is_out_of_date_and_nothing_else() {
    let root = repository(&fixtures::results());
    let changed = written(root.path()).unwrap();
    for path in [
        "README.md",
        "docs/guide.md",
        "docs/benchmarks.md",
        "docs/benchmarks/ratios.svg",
        "bench/notes/dns.md",
    ] {
        assert!(changed.iter().any(|changed| changed == path), "{path} of {changed:?}");
    }
    assert!(!changed.iter().any(|changed| changed == "docs/fleet.md"), "{changed:?}");
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    assert!(!root.path().join("docs/benchmarks/peers-gone.svg").exists());
    assert_eq!(read("docs/guide.md"), "It takes <!-- value: bpf/connection -->3.81 µs<!-- /value -->.\n");
    assert!(read("README.md").contains("| keep-alive, &lt;made> &amp; up | 109,845 requests/s | 0.971"));
    assert!(read("docs/benchmarks.md").contains("See [why](../DECISIONS.md): 3.81 µs.\n"));
    assert_eq!(written(root.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_quoted_and_what_nobody_knows_are_errors() {
    let mut results = fixtures::results();
    let root = repository(&results);
    let guide = root.path().join("docs/guide.md");
    fs::write(&guide, "\nIt takes <!-- value: bpf/conection --><!-- /value -->.\n").unwrap();
    let error = format!("{:#}", written(root.path()).unwrap_err());
    assert_eq!(error, "docs/guide.md:2: bpf has no figure conection");
    fs::write(&guide, "It takes nothing.\n").unwrap();
    fs::remove_file(root.path().join("bench/notes/dns.md")).unwrap();
    let error = format!("{:#}", written(root.path()).unwrap_err());
    assert!(error.starts_with("missed and not explained: dns (0.943"), "{error}");
    results.get_mut("dns").unwrap().scope = Scope::Quick;
    results["dns"].write(&root.path().join("bench/results")).unwrap();
    let error = format!("{:#}", written(root.path()).unwrap_err());
    assert_eq!(error, "dns is a quick measurement, which is not quoted");
    let file = |name: &str| root.path().join("bench/results").join(name);
    results.get_mut("dns").unwrap().scope = Scope::Full;
    results["dns"].write(&root.path().join("bench/results")).unwrap();
    fs::rename(file("dns.json"), file("sdn.json")).unwrap();
    let error = format!("{:#}", written(root.path()).unwrap_err());
    assert_eq!(error, "dns is not in dns.json, where pages say it is");
}
