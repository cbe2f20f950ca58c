//! The text format of metrics, read strictly: what Prometheus would refuse is an error with its line.

use std::collections::{BTreeMap, BTreeSet};

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, with `_bucket` and the like.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Everything one answer shows.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Type of each family.
    pub types: BTreeMap<String, String>,
    /// Samples in their order.
    pub samples: Vec<Sample>,
    /// What is there twice: families and series.
    pub doubled: Vec<String>,
}

impl Exposition {
    /// Read a text.
    pub fn read(text: &str) -> Result<Exposition, String> {
        let mut read = Exposition::default();
        let mut seen = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let told = |what: &str| format!("line {}: {what}: {line}", index + 1);
            if line.is_empty() {
                continue;
            }
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_whitespace();
                if words.next() != Some("TYPE") {
                    continue;
                }
                let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                    return Err(told("a TYPE names a family and its type"));
                };
                if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                    return Err(told("no type that Prometheus knows"));
                }
                if read.types.insert(name.into(), kind.into()).is_some() {
                    read.doubled.push(format!("# TYPE {name}"));
                }
                continue;
            }
            let sample = sample(line).ok_or_else(|| told("no sample"))?;
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                read.doubled.push(line.into());
            }
            read.samples.push(sample);
        }
        Ok(read)
    }

    /// The samples of a name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Sum over the series of a name that carry a label.
    pub fn sum(&self, name: &str, label: (&str, &str)) -> f64 {
        self.named(name).filter(|sample| sample.has(label)).map(|sample| sample.value).sum()
    }
}

impl Sample {
    /// Whether it carries a label.
    pub fn has(&self, (name, value): (&str, &str)) -> bool {
        self.labels.get(name).is_some_and(|found| found == value)
    }

    /// Its labels without one.
    pub fn without(&self, label: &str) -> BTreeMap<String, String> {
        self.labels.iter().filter(|(name, _)| *name != label).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|letter: char| !name_letter(letter)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = number(words.next()?)?;
    // A timestamp may follow, in milliseconds.
    if words.next().is_some_and(|stamp| stamp.parse::<i64>().is_err()) || words.next().is_some() {
        return None;
    }
    Some(Sample { name: name.into(), labels, value })
}

fn name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(name_letter) {
            return None;
        }
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        if labels.insert(name.into(), value).is_some() {
            return None;
        }
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A label's value up to its quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                _ => return None,
            },
            _ => value.push(letter),
        }
    }
    None
}

/// A value or a bound.
pub fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read() {
        let read = Exposition::read(
            "# HELP a what\n# TYPE a counter\na{method=\"GET\",route=\"/b\\\"c\\\\\",} 3 1700000000000\na{method=\"PUT\"} 1e2\n\nb_bucket{le=\"+Inf\"} 4\nc NaN\n",
        )
        .unwrap();
        assert_eq!(read.types["a"], "counter");
        assert_eq!(read.samples[0].labels["route"], "/b\"c\\");
        assert_eq!(read.sum("a", ("method", "GET")), 3.0);
        assert_eq!(read.samples.len(), 4);
        assert!(read.doubled.is_empty());
    }

    #[test]
    fn what_is_there_twice_is_told() {
        let read = Exposition::read("# TYPE a counter\na 1\n# TYPE a counter\na 2\n").unwrap();
        assert_eq!(read.doubled, ["# TYPE a", "a 2"]);
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "a",
            "a one",
            "a{b=1} 2",
            "a{b=\"1} 2",
            "a{b=\"1\" 2",
            "a{b=\"1\",b=\"2\"} 2",
            "1a 2",
            "a 1 soon",
            "a 1 2 3",
            "# TYPE a",
            "# TYPE a clock",
            "<html>",
        ] {
            assert!(Exposition::read(text).is_err(), "{text}");
        }
    }
}
