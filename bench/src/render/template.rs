//! Marks in Markdown that people write: what stands between them is the renderer's. They are comments, so that a page reads the same with
//! them and without. What the names mean is for others.
//!
//! A block has lines of its own, a value is in the middle of one:
//!
//! ```text
//! <!-- results: NAME -->
//! …
//! <!-- /results -->
//! takes <!-- value: FILE/FIGURE -->3.8 µs<!-- /value --> for a connection
//! ```

use anyhow::{Context, Result, bail, ensure};

const VALUE: &str = "<!-- value: ";
const VALUE_END: &str = "<!-- /value -->";
const BLOCK: &str = "<!-- results: ";
const BLOCK_END: &str = "<!-- /results -->";
const END: &str = " -->";

/// What a name stands for.
pub trait Names {
    /// Lines of a block, without the end of the last. An error if there is no such name.
    fn block(&self, name: &str) -> Result<String>;
    /// A few words. An error if there is no such name.
    fn value(&self, name: &str) -> Result<String>;
}

/// The text with its blocks and values filled in anew. Errors say the file and the line.
pub fn fill(file: &str, text: &str, names: &dyn Names) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let at = || format!("{file}:{}", index + 1);
        let Some(name) = line.trim_end().strip_prefix(BLOCK) else {
            filled.push_str(&fill_line(line, names).with_context(at)?);
            continue;
        };
        let name =
            name.strip_suffix(END).with_context(|| format!("no{END} in that line")).with_context(at)?;
        let end = lines.by_ref().find_map(|(_, line)| match line.trim_end() {
            BLOCK_END => Some(Ok(line)),
            other if other.contains(BLOCK) => Some(Err(())),
            _ => None,
        });
        let end = end.and_then(Result::ok).with_context(|| format!("no {BLOCK_END} after {name}"));
        let end = end.with_context(at)?;
        let block = names.block(name).with_context(at)?;
        filled.push_str(&format!("{line}\n{block}\n\n{end}"));
    }
    Ok(filled)
}

fn fill_line(line: &str, names: &dyn Names) -> Result<String> {
    let mut filled = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(VALUE) {
        // Markdown takes a line that begins with a comment for HTML, and what follows in it too.
        let begins = filled.is_empty() && before.trim_start_matches(['|', '-', '>', ' ']).is_empty();
        ensure!(!begins || before.contains('|'), "a line cannot begin with a value");
        let (name, after) = after.split_once(END).context("a value's mark has no end")?;
        let (old, after) =
            after.split_once(VALUE_END).with_context(|| format!("no {VALUE_END} after {name}"))?;
        ensure!(!old.contains("<!--"), "a mark within {name}");
        ensure_no_marks(before)?;
        filled.push_str(&format!("{before}{VALUE}{name}{END}{}{VALUE_END}", names.value(name)?));
        rest = after;
    }
    ensure_no_marks(rest)?;
    filled.push_str(rest);
    Ok(filled)
}

/// A mark that is written wrongly would never be filled in.
fn ensure_no_marks(text: &str) -> Result<()> {
    for (begin, _) in text.match_indices("<!--") {
        let comment = text[begin + 4..].split_once("-->").map_or(&text[begin + 4..], |(comment, _)| comment);
        let word = comment.trim().trim_start_matches('/').split(':').next().unwrap_or_default().trim();
        if matches!(word, "value" | "values" | "result" | "results") {
            bail!("<!--{comment}--> is no mark, or not at its place");
        }
    }
    Ok(())
}

/// Everything but the marks.
pub fn without_marks(text: &str) -> String {
    let mut kept = text.replace(VALUE_END, "");
    while let Some((before, after)) = kept.split_once(VALUE) {
        let rest = after.split_once(END).map_or("", |(_, rest)| rest);
        kept = format!("{before}{rest}");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Names for Known {
        fn block(&self, name: &str) -> Result<String> {
            ensure!(name == "table", "no block is named {name}");
            Ok("| a |\n| --- |".into())
        }

        fn value(&self, name: &str) -> Result<String> {
            ensure!(name.starts_with("a/"), "no value is named {name}");
            Ok(name.replace("a/", ""))
        }
    }

    fn error(text: &str) -> String {
        format!("{:#}", fill("page.md", text, &Known).unwrap_err())
    }

    #[test]
    fn blocks_and_values_are_filled_and_filled_again() {
        let text = "# Page\n\n<!-- results: table -->\nold\nolder\n<!-- /results -->\n\nIt <!-- value: a/x -->1<!-- /value -->, \
                    <!-- value: a/y --><!-- /value -->.\n<!-- a comment of ours -->\n";
        let filled = fill("page.md", text, &Known).unwrap();
        assert_eq!(
            filled,
            "# Page\n\n<!-- results: table -->\n\n| a |\n| --- |\n\n<!-- /results -->\n\nIt <!-- value: a/x -->x<!-- /value -->, \
             <!-- value: a/y -->y<!-- /value -->.\n<!-- a comment of ours -->\n"
        );
        assert_eq!(fill("page.md", &filled, &Known).unwrap(), filled);
        assert!(without_marks(&filled).contains("It x, y.\n<!-- a comment of ours -->"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(error("\nIt <!-- value: b/x -->1<!-- /value -->\n"), "page.md:2: no value is named b/x");
        assert_eq!(
            error("<!-- results: other -->\n<!-- /results -->\n"),
            "page.md:1: no block is named other"
        );
        assert_eq!(
            error("\n\n<!-- results: table -->\n| a |\n"),
            "page.md:3: no <!-- /results --> after table"
        );
        assert_eq!(
            error("<!-- results: table -->\n<!-- results: table -->\n<!-- /results -->\n"),
            "page.md:1: no <!-- /results --> after table"
        );
        assert_eq!(error("It <!-- value: a/x -->1\n"), "page.md:1: no <!-- /value --> after a/x");
        assert_eq!(error("It <!-- value: a/x\n"), "page.md:1: a value's mark has no end");
        for wrong in [
            "It <!-- Value: a/x -->".replace('V', "v").replace(": ", ":"),
            "It 1<!-- /value -->".to_owned(),
            "<!-- /results -->".to_owned(),
            " <!-- results: table -->".to_owned(),
            "It <!--value: a/x-->1<!--/value-->".to_owned(),
        ] {
            assert!(error(&wrong).contains("is no mark"), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_within_its_line() {
        for begin in ["", "   ", "- ", "> "] {
            let text = format!("{begin}<!-- value: a/x -->1<!-- /value --> is it\n");
            assert_eq!(error(&text), "page.md:1: a line cannot begin with a value");
        }
        assert!(fill("page.md", "| <!-- value: a/x -->1<!-- /value --> |\n", &Known).is_ok());
    }
}
