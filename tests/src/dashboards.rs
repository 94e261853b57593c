//! What Grafana and Prometheus would ask: the queries of the dashboards, with their variables filled in, and the vectors
//! that alerts compare.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::program::python;
use crate::{command, host};

/// A folder of the repository's configurations.
pub fn config(folder: &str) -> PathBuf {
    host::source("../config").join(folder)
}

/// A dashboard as it is committed.
pub struct Dashboard {
    /// Its file's name.
    pub name: String,
    /// All of it.
    pub page: Value,
}

impl Dashboard {
    /// Every dashboard.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(config("grafana/dashboards"))? {
            let path = entry?.path();
            let page = serde_json::from_str(&fs::read_to_string(&path)?)
                .with_context(|| format!("{} is no JSON", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push(Self { name, page });
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Its panels, those that are only headings left out.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.page["panels"]).filter(|panel| panel["type"] != "row")
    }

    /// Its variables of this type.
    pub fn variables(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        list(&self.page["templating"]["list"]).filter(move |variable| variable["type"] == kind)
    }

    /// What Grafana puts in the place of each variable when nothing was chosen, and of its own.
    pub fn values(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = [("__rate_interval", "20s"), ("__interval", "1s"), ("__range", "2m")];
        let mut values: BTreeMap<String, String> =
            own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        values.extend(self.variables("query").map(|one| (text(&one["name"]), text(&one["allValue"]))));
        values
            .extend(self.variables("custom").map(|one| (text(&one["name"]), text(&one["current"]["value"]))));
        values
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The labels of a query's series that a panel shows: in the legend, or as columns of a table.
pub fn shown_labels(panel: &Value, target: &Value) -> Vec<String> {
    let legend = target["legendFormat"].as_str().unwrap_or_default();
    let mut labels: Vec<String> = legend
        .split("{{")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned()))
        .collect();
    for step in list(&panel["transformations"]) {
        let columns = step["options"]["renameByName"].as_object().into_iter().flatten();
        labels.extend(columns.map(|(field, _)| field.clone()).filter(|field| !field.starts_with("Value")));
    }
    labels
}

/// An expression with every `$name` and `${name}` replaced; one that is not known is an error.
pub fn fill_in(expression: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut rest = expression;
    let mut filled = String::new();
    while let Some((before, after)) = rest.split_once('$') {
        filled += before;
        let braced = after.strip_prefix('{');
        let after = braced.unwrap_or(after);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.chars().all(|c| c.is_ascii_digit()) && braced.is_none() {
            // A group of label_replace.
            filled += "$";
            filled += name;
        } else {
            filled += values.get(name).with_context(|| format!("${name} is no variable, in {expression}"))?;
        }
        rest = if braced.is_some() { after.strip_prefix('}').context("no closing brace")? } else { after };
    }
    Ok(filled + rest)
}

/// An alert, or a recording of an expression under a name.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// Of an alert.
    pub alert: Option<String>,
    /// Of a recording.
    pub record: Option<String>,
    /// What is evaluated.
    pub expr: String,
    /// Severity and so on.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Summary and so on.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// Those of every file, recordings put in the place of their names.
    pub fn all() -> Result<Vec<Self>> {
        let mut rules: Vec<Self> = Vec::new();
        for file in ["alerts.yml", "slo.yml"] {
            let path = config("prometheus").join(file);
            let text = command::output(python("yaml_to_json.py", "").arg(path))?;
            let content: Value = serde_json::from_str(&text)?;
            for group in list(&content["groups"]) {
                rules.extend(serde_json::from_value::<Vec<Self>>(group["rules"].clone())?);
            }
        }
        let mut names: Vec<(String, String)> =
            rules.iter().filter_map(|rule| Some((rule.record.clone()?, rule.expr.clone()))).collect();
        // No name must be taken for the beginning of another.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for rule in &mut rules {
            for (name, expression) in &names {
                rule.expr = rule.expr.replace(name, &format!("({})", expression.trim()));
            }
        }
        Ok(rules)
    }
}

/// The vectors that must be there for an alert to be able to fire: both sides of `and`, the left side of `unless`, and
/// of each what is compared with a number.
pub fn vectors(expression: &str) -> Vec<&str> {
    for words in [&["or"][..], &["and", "unless"]] {
        if let Some((left, word, right)) = split(expression, words) {
            let mut all = vectors(left);
            if word != "unless" {
                all.extend(vectors(after_matching(right)));
            }
            return all;
        }
    }
    match split(expression, &[">=", "<=", "==", "!=", ">", "<"]) {
        Some((left, ..)) => vec![left.trim()],
        None => vec![expression.trim()],
    }
}

/// Without the `on (...)` or `ignoring (...)` that follows a set operator.
fn after_matching(right: &str) -> &str {
    let trimmed = right.trim_start();
    let is_matching = ["on", "ignoring"].iter().any(|word| trimmed.starts_with(word));
    match trimmed.split_once(')') {
        Some((_, rest)) if is_matching => rest,
        _ => right,
    }
}

/// Splits at the last of these operators that is in no bracket and no text.
fn split<'a>(expression: &'a str, operators: &[&'a str]) -> Option<(&'a str, &'a str, &'a str)> {
    let (mut depth, mut quoted, mut found) = (0_i32, false, None);
    let mut at = 0;
    while at < expression.len() {
        let rest = &expression[at..];
        let first = rest.chars().next()?;
        match first {
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        let is_here = |operator: &&&str| {
            let is_word = operator.starts_with(char::is_alphabetic);
            let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
            rest.starts_with(**operator)
                && (!is_word
                    || ends(expression[..at].chars().next_back())
                        && ends(rest[operator.len()..].chars().next()))
        };
        if depth == 0
            && !quoted
            && let Some(operator) = operators.iter().find(is_here)
        {
            found = Some((&expression[..at], *operator, &rest[operator.len()..]));
            at += operator.len();
        } else {
            at += first.len_utf8();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_groups_left() {
        let values =
            BTreeMap::from([("host".to_owned(), ".*".to_owned()), ("top".to_owned(), "5".to_owned())]);
        let filled =
            fill_in(r#"topk($top, label_replace(a{h=~"$host"}, "x", "$1:$2", "${host}", ""))"#, &values);
        assert_eq!(filled.unwrap(), r#"topk(5, label_replace(a{h=~".*"}, "x", "$1:$2", ".*", ""))"#);
        assert!(fill_in("a[$unknown]", &values).is_err());
    }

    #[test]
    fn what_an_alert_compares() {
        assert_eq!(vectors("a / (b > 10) > 0.5"), ["a / (b > 10)"]);
        assert_eq!(vectors("a > 14.4 * 0.1 and b{x=\"> and\"} >= 2"), ["a", "b{x=\"> and\"}"]);
        assert_eq!(
            vectors("sum by (a) (b) unless c and on (a) d offset 1h"),
            ["sum by (a) (b)", "d offset 1h"]
        );
        assert_eq!(vectors("android unless for_and"), ["android"]);
    }
}
