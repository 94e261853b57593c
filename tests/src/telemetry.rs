//! OTLP/JSON as netsonde wrote it, read into plain series and events that a test can sum and search.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    List(Vec<Attribute>),
    Map(Attributes),
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&Path> for Attribute {
    fn from(path: &Path) -> Self {
        Self::Text(path.to_string_lossy().into_owned())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Attribute {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl Attribute {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it is a whole one.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The number, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The elements, none if it is no list.
    pub fn list(&self) -> &[Attribute] {
        if let Self::List(elements) = self { elements } else { &[] }
    }

    fn parse(value: &Value) -> Result<Self> {
        let (kind, inner) =
            value.as_object().and_then(|object| object.iter().next()).context("an empty value")?;
        Ok(match kind.as_str() {
            "stringValue" => Self::Text(inner.as_str().context("text")?.to_owned()),
            "intValue" => Self::Int(integer(inner)?),
            "doubleValue" => Self::Double(double(inner)?),
            "boolValue" => Self::Bool(inner.as_bool().context("a bool")?),
            "arrayValue" => Self::List(each(inner, "values", Self::parse)?),
            "kvlistValue" => Self::Map(attributes(inner, "values")?),
            _ => bail!("an attribute of unknown kind {kind}"),
        })
    }
}

/// One reading of one series.
#[derive(Debug, Clone)]
pub struct Point {
    pub metric: String,
    pub attributes: Attributes,
    pub start: u64,
    pub time: u64,
    /// A counter only grows; its series may end and begin again.
    pub is_counter: bool,
    /// It tells of its own interval alone.
    pub is_delta: bool,
    pub number: f64,
    /// Observations, for histograms; `number` is their sum.
    pub count: u64,
}

/// One log record.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub attributes: Attributes,
    pub time: u64,
}

impl Event {
    /// An attribute that must be there.
    pub fn get(&self, name: &str) -> Result<&Attribute> {
        self.attributes.get(name).with_context(|| format!("{} has no {name}: {self:?}", self.name))
    }

    /// A whole number that must be there.
    pub fn int(&self, name: &str) -> Result<i64> {
        self.get(name)?.int().with_context(|| format!("{name} is no whole number: {self:?}"))
    }
}

/// Everything that was exported, in order.
#[derive(Debug, Default)]
pub struct Telemetry {
    pub points: Vec<Point>,
    pub events: Vec<Event>,
}

/// What a test is looking for: names and the values they must have.
pub type Filter<'a> = &'a [(&'a str, Attribute)];

fn matches(attributes: &Attributes, filter: Filter) -> bool {
    filter.iter().all(|(name, value)| attributes.get(*name) == Some(value))
}

impl Telemetry {
    /// Reads lines of export requests. A last line without its end is still being written, and left out.
    pub fn parse(text: &str) -> Result<Self> {
        let mut telemetry = Self::default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            telemetry.add_request(line).with_context(|| format!("cannot read this line: {line}"))?;
        }
        Ok(telemetry)
    }

    fn add_request(&mut self, line: &str) -> Result<()> {
        let request: Value = serde_json::from_str(line)?;
        if request.get("resourceMetrics").is_none() && request.get("resourceLogs").is_none() {
            bail!("neither metrics nor logs");
        }
        for metric in nested(&request, ["resourceMetrics", "scopeMetrics", "metrics"]) {
            self.points.extend(points(metric)?);
        }
        for record in nested(&request, ["resourceLogs", "scopeLogs", "logRecords"]) {
            self.events.push(Event {
                name: record["eventName"].as_str().context("eventName")?.to_owned(),
                attributes: attributes(record, "attributes")?,
                time: integer(&record["timeUnixNano"])? as u64,
            });
        }
        Ok(())
    }

    /// That nothing was exported twice.
    pub fn check_unique(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        let points = self.points.iter().map(|p| (&p.metric, format!("{:?}", p.attributes), p.start, p.time));
        let events = self.events.iter().map(|e| (&e.name, format!("{:?}", e.attributes), 0, e.time));
        for item in points.chain(events) {
            if seen.contains(&item) {
                bail!("this is there twice: {item:?}");
            }
            seen.insert(item);
        }
        Ok(())
    }

    /// That no counter ever went down while its series lasted, and that all are totals.
    pub fn check_counters(&self) -> Result<()> {
        if let Some(point) = self.points.iter().find(|point| point.is_delta) {
            bail!("{} is not cumulative", point.metric);
        }
        self.check_sequences()
    }

    /// That no total ever went down while its series lasted, and that a series, or a delta, began no sooner than the one
    /// before it ended.
    pub fn check_sequences(&self) -> Result<()> {
        let mut last: BTreeMap<(&str, String), &Point> = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.is_counter) {
            let series = (point.metric.as_str(), format!("{:?}", point.attributes));
            let Some(before) = last.insert(series, point) else { continue };
            if (point.is_delta || before.start != point.start) && point.start < before.time {
                bail!("begins before its predecessor ended: {before:?}, {point:?}");
            }
        }
        self.check_totals()
    }

    /// That no total ever went down while its series lasted.
    pub fn check_totals(&self) -> Result<()> {
        let mut highest: BTreeMap<(&str, String, u64), f64> = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.is_counter) {
            let series = (point.metric.as_str(), format!("{:?}", point.attributes), point.start);
            let before = highest.insert(series, point.number);
            if before.is_some_and(|before| before > point.number) {
                bail!("a counter fell from {} to {}: {point:?}", before.unwrap_or_default(), point.number);
            }
        }
        Ok(())
    }

    /// The newest reading of each series of a metric that matches.
    pub fn newest(&self, metric: &str, filter: Filter) -> Vec<&Point> {
        let mut newest: BTreeMap<(String, u64), &Point> = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.metric == metric) {
            if !matches(&point.attributes, filter) {
                continue;
            }
            // A counter that began anew adds to what it had counted before; a level replaces it.
            let start = if point.is_counter { point.start } else { 0 };
            let known = newest.entry((format!("{:?}", point.attributes), start)).or_insert(point);
            if known.time <= point.time {
                *known = point;
            }
        }
        newest.into_values().collect()
    }

    /// Sum over all series of a metric that match: a counter's total, a level's present height.
    pub fn sum(&self, metric: &str, filter: Filter) -> i64 {
        self.newest(metric, filter).iter().map(|point| point.number as i64).sum()
    }

    /// Observations in all series of a histogram that match.
    pub fn observations(&self, metric: &str, filter: Filter) -> u64 {
        self.newest(metric, filter).iter().map(|point| point.count).sum()
    }

    /// Events of a name that match.
    pub fn events(&self, name: &str, filter: Filter) -> Vec<&Event> {
        self.events.iter().filter(|event| event.name == name && matches(&event.attributes, filter)).collect()
    }
}

fn points(metric: &Value) -> Result<Vec<Point>> {
    let name = metric["name"].as_str().context("a metric without a name")?;
    let kind = ["sum", "gauge", "histogram"].into_iter().find(|kind| metric.get(kind).is_some());
    let kind = kind.with_context(|| format!("{name} is of no known kind"))?;
    let data = &metric[kind];
    let is_delta = match data["aggregationTemporality"].as_u64() {
        Some(1) => true,
        Some(2) => false,
        _ if kind == "gauge" => false,
        other => bail!("{name} is neither cumulative nor of deltas: {other:?}"),
    };
    each(data, "dataPoints", |point| {
        let number = match kind {
            "histogram" => double(&point["sum"])?,
            _ if point.get("asInt").is_some() => integer(&point["asInt"])? as f64,
            _ => double(&point["asDouble"])?,
        };
        Ok(Point {
            metric: name.to_owned(),
            attributes: attributes(point, "attributes")?,
            start: point.get("startTimeUnixNano").map(integer).transpose()?.unwrap_or(0) as u64,
            time: integer(&point["timeUnixNano"])? as u64,
            is_delta,
            is_counter: kind == "histogram" || data["isMonotonic"].as_bool() == Some(true),
            number,
            count: point.get("count").map(integer).transpose()?.unwrap_or(0) as u64,
        })
    })
}

/// proto3 JSON writes 64-bit integers as strings and leaves out fields that are zero.
fn integer(value: &Value) -> Result<i64> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => text.parse().with_context(|| format!("{text} is no integer")),
        number => number.as_i64().with_context(|| format!("{number} is no integer")),
    }
}

fn double(value: &Value) -> Result<f64> {
    if value.is_null() { Ok(0.0) } else { value.as_f64().with_context(|| format!("{value} is no number")) }
}

fn each<T>(value: &Value, list: &str, parse: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    value.get(list).and_then(Value::as_array).into_iter().flatten().map(parse).collect()
}

fn attributes(value: &Value, list: &str) -> Result<Attributes> {
    let pairs = each(value, list, |pair| {
        Ok((pair["key"].as_str().context("a key")?.to_owned(), Attribute::parse(&pair["value"])?))
    })?;
    let (given, unique) = (pairs.len(), Attributes::from_iter(pairs));
    // OTLP: keys must be unique; a duplicate would be hidden by the map.
    if unique.len() != given {
        bail!("an attribute is there twice: {value}");
    }
    Ok(unique)
}

fn nested<'a>(request: &'a Value, path: [&str; 3]) -> Vec<&'a Value> {
    path.iter().fold(vec![request], |values, key| {
        values.iter().filter_map(|value| value.get(key)?.as_array()).flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(start: u64, time: u64, value: u64) -> String {
        let attribute = r#"{"key":"k","value":{"stringValue":"v"}}"#;
        let point = format!(
            r#"{{"attributes":[{attribute}],"startTimeUnixNano":"{start}","timeUnixNano":"{time}","asInt":"{value}"}}"#
        );
        let sum = format!(r#"{{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[{point}]}}"#);
        let metric = format!(r#"{{"name":"m","sum":{sum}}}"#);
        format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#) + "\n"
    }

    #[test]
    fn a_counter_that_began_anew_keeps_its_past() {
        let text = counter(1, 2, 5) + &counter(1, 3, 8) + &counter(9, 10, 2);
        let telemetry = Telemetry::parse(&text).unwrap();
        assert_eq!(telemetry.sum("m", &[("k", "v".into())]), 10);
        assert_eq!(telemetry.sum("m", &[("k", "w".into())]), 0);
    }

    #[test]
    fn a_counter_that_falls_is_noticed() {
        let rising = Telemetry::parse(&(counter(1, 2, 5) + &counter(1, 3, 8) + &counter(9, 10, 2))).unwrap();
        rising.check_counters().unwrap();
        let falling = Telemetry::parse(&(counter(1, 2, 5) + &counter(1, 3, 4))).unwrap();
        falling.check_counters().unwrap_err();
    }

    #[test]
    fn deltas_and_series_that_overlap_are_noticed() {
        let delta = |start, time| counter(start, time, 1).replace("Temporality\":2", "Temporality\":1");
        let joined = Telemetry::parse(&(delta(1, 2) + &delta(2, 3))).unwrap();
        joined.check_sequences().unwrap();
        joined.check_counters().unwrap_err();
        Telemetry::parse(&(delta(1, 3) + &delta(2, 4))).unwrap().check_sequences().unwrap_err();
        Telemetry::parse(&(counter(1, 3, 1) + &counter(2, 4, 1))).unwrap().check_sequences().unwrap_err();
    }

    #[test]
    fn an_unfinished_line_is_left_out_and_a_broken_one_is_an_error() {
        let text = counter(1, 2, 5);
        assert_eq!(Telemetry::parse(&text[..text.len() - 4]).unwrap().points.len(), 0);
        assert!(Telemetry::parse("{\"resource\n").is_err());
        assert!(Telemetry::parse("{}\n").is_err());
    }

    #[test]
    fn events_keep_nested_values() {
        let text = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"e","timeUnixNano":"7","attributes":[
            {"key":"a","value":{"arrayValue":{"values":[{"kvlistValue":{"values":[{"key":"pid","value":{"intValue":"1"}}]}}]}}}
        ]}]}]}]}"#;
        let telemetry = Telemetry::parse(&(text.replace('\n', " ") + "\n")).unwrap();
        let parent = Attributes::from([("pid".to_owned(), Attribute::Int(1))]);
        assert_eq!(telemetry.events[0].get("a").unwrap().list(), [Attribute::Map(parent)]);
    }
}
