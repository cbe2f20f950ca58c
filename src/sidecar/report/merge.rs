//! Two texts of metrics as one that every scraper reads: no family twice, no series twice, no malformed line.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::exposition::{Kind, Line, Sample, read};

/// What of the application's text was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Families of a name that the sidecar has.
    pub collisions: u64,
    /// Lines that no scraper would read.
    pub malformed: u64,
    /// Series that were there already.
    pub duplicates: u64,
}

/// The application's metrics, as far as they can stand beside the sidecar's.
#[derive(Debug, PartialEq)]
pub struct Merged {
    /// As 0.0.4 has it; may be empty.
    pub text: String,
    /// What was left out.
    pub dropped: Dropped,
}

struct Family<'a> {
    name: &'a str,
    kind: Kind,
    help: Option<&'a str>,
    samples: Vec<Sample<'a>>,
}

/// `text` rewritten so that it can follow metrics whose names are `taken`: families and their samples.
pub fn fit(text: &[u8], taken: &HashSet<String>) -> Merged {
    let mut dropped = Dropped::default();
    let start = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if start == Some(&b'<') {
        // A page, as applications answer with to any path: one thing, not as many as it has lines.
        return Merged { text: String::new(), dropped: Dropped { malformed: 1, ..dropped } };
    }
    let lines: Vec<Line<'_>> = text.split(|byte| *byte == b'\n').map(read).collect();
    let end = lines.iter().position(|line| *line == Line::End);
    let lines = &lines[..end.unwrap_or(lines.len())];

    let (types, helps) = read_metadata(lines, &mut dropped);
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut series: HashSet<(&str, &str)> = HashSet::new();
    for line in lines {
        let Line::Sample(sample) = line else { continue };
        let Some((name, kind, described)) = find_family(sample, &types) else {
            dropped.malformed += 1;
            continue;
        };
        if timestamp(sample, end.is_some()).is_none() {
            dropped.malformed += 1;
            continue;
        }
        if !series.insert((sample.name, sample.labels)) {
            dropped.duplicates += 1;
            continue;
        }
        let place = *places.entry(name).or_insert_with(|| {
            let help = helps.get(described).copied();
            families.push(Family { name, kind, help, samples: Vec::new() });
            families.len() - 1
        });
        families[place].samples.push(*sample);
    }

    let before = families.len();
    families.retain(|family| {
        !taken.contains(family.name) && !family.samples.iter().any(|sample| taken.contains(sample.name))
    });
    dropped.collisions += (before - families.len()) as u64;
    let mut text = String::with_capacity(text.len());
    for family in &families {
        write(&mut text, family, end.is_some());
    }
    Merged { text, dropped }
}

/// Every name that a family of `kind` writes samples under.
pub fn names(name: &str, kind: Kind) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        Kind::Summary => &["", "_sum", "_count"],
        _ => &[""],
    };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

type Metadata<'a> = (HashMap<&'a str, Kind>, HashMap<&'a str, &'a str>);

fn read_metadata<'a>(lines: &[Line<'a>], dropped: &mut Dropped) -> Metadata<'a> {
    let (mut types, mut helps) = (HashMap::new(), HashMap::new());
    for line in lines {
        let again = match *line {
            Line::Type(name, kind) => types.insert(name, kind).is_some_and(|first| {
                types.insert(name, first);
                true
            }),
            Line::Help(name, help) => helps.insert(name, help).is_some_and(|first| {
                helps.insert(name, first);
                true
            }),
            Line::Malformed => true,
            _ => false,
        };
        dropped.malformed += u64::from(again);
    }
    (types, helps)
}

/// The family that a sample belongs to in 0.0.4, its kind, and the name under which its help is; `None` where the
/// sample cannot be of its family.
fn find_family<'a>(sample: &Sample<'a>, types: &HashMap<&'a str, Kind>) -> Option<(&'a str, Kind, &'a str)> {
    let name = sample.name;
    let number = |label| sample.label(label).is_some_and(|value| value.parse::<f64>().is_ok());
    let (base, suffix) = name.rfind('_').map_or((name, ""), |at| name.split_at(at));
    // Before the name as it stands: a scraper takes x_count for a part of the histogram x, whatever else is said.
    match (types.get(base), suffix) {
        (Some(Kind::Histogram), "_bucket") => return number("le").then_some((base, Kind::Histogram, base)),
        (Some(kind @ (Kind::Histogram | Kind::Summary)), "_sum" | "_count") => {
            return Some((base, *kind, base));
        }
        _ => {}
    }
    match types.get(name) {
        // A histogram has no sample of its own name, a summary only quantiles.
        Some(Kind::Histogram) => return None,
        Some(Kind::Summary) => return number("quantile").then_some((name, Kind::Summary, name)),
        Some(kind) => return Some((name, *kind, name)),
        None => {}
    }
    match (types.get(base), suffix) {
        // OpenMetrics names a counter without the suffix that its samples have.
        (Some(Kind::Counter), "_total") => Some((name, Kind::Counter, base)),
        (Some(Kind::Info), "_info") => Some((name, Kind::Info, base)),
        (Some(Kind::Counter | Kind::Histogram | Kind::Summary), "_created") => {
            Some((name, Kind::Gauge, base))
        }
        _ => Some((name, Kind::Untyped, name)),
    }
}

/// Milliseconds, or none; `None` where it is no time.
fn timestamp(sample: &Sample<'_>, open_metrics: bool) -> Option<Option<i64>> {
    let Some(text) = sample.timestamp else { return Some(None) };
    if open_metrics {
        let milliseconds = text.parse::<f64>().ok()? * 1000.0;
        return milliseconds.is_finite().then_some(Some(milliseconds as i64));
    }
    text.parse().ok().map(Some)
}

fn write(text: &mut String, family: &Family<'_>, open_metrics: bool) {
    if let Some(help) = family.help {
        text.push_str("# HELP ");
        text.push_str(family.name);
        text.push(' ');
        text.push_str(&well_escaped(help));
        text.push('\n');
    }
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind.as_str());
    for sample in &family.samples {
        text.push_str(sample.name);
        if !sample.labels.is_empty() {
            text.push('{');
            text.push_str(sample.labels);
            text.push('}');
        }
        text.push(' ');
        text.push_str(sample.text);
        if let Some(Some(milliseconds)) = timestamp(sample, open_metrics) {
            let _ = write!(text, " {milliseconds}");
        }
        text.push('\n');
    }
}

/// A help whose backslashes are what 0.0.4 knows: `\\` and `\n`.
fn well_escaped(help: &str) -> Cow<'_, str> {
    if !help.contains('\\') {
        return Cow::Borrowed(help);
    }
    let mut escaped = String::with_capacity(help.len() + 1);
    let mut rest = help.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(next @ ('\\' | 'n'))) => {
                escaped.extend(['\\', *next]);
                rest.next();
            }
            // OpenMetrics escapes quotation marks too.
            ('\\', Some('"')) => {}
            ('\\', _) => escaped.push_str("\\\\"),
            _ => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
