//! Prometheus' text format, line by line: 0.0.4, and what of OpenMetrics can be said in it.

/// What a line of the text says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// What a family means.
    Help(&'a str, &'a str),
    /// What a family is.
    Type(&'a str, Kind),
    /// One value.
    Sample(Sample<'a>),
    /// OpenMetrics' end of the text.
    End,
    /// A comment, an empty line, a unit.
    Nothing,
    /// None of these.
    Malformed,
}

/// What a family is: the five kinds of 0.0.4, and three of OpenMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Quantiles, sum and count.
    Summary,
    /// Anything.
    Untyped,
    /// OpenMetrics: labels alone, under `<name>_info`.
    Info,
    /// OpenMetrics: one series a state.
    StateSet,
    /// OpenMetrics: a histogram that may shrink.
    GaugeHistogram,
}

impl Kind {
    fn read(word: &str) -> Option<Kind> {
        Some(match word {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            "untyped" | "unknown" => Kind::Untyped,
            "info" => Kind::Info,
            "stateset" => Kind::StateSet,
            "gaugehistogram" => Kind::GaugeHistogram,
            _ => return None,
        })
    }

    /// The word of 0.0.4.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info | Kind::StateSet => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped | Kind::GaugeHistogram => "untyped",
        }
    }
}

/// One value, as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels without the braces; may be empty.
    pub labels: &'a str,
    /// The value as text.
    pub text: &'a str,
    /// The value.
    pub value: f64,
    /// When it was taken: milliseconds, or in OpenMetrics seconds.
    pub timestamp: Option<&'a str>,
}

/// What `line` says, without its line feed.
pub fn read(line: &[u8]) -> Line<'_> {
    let Ok(line) = std::str::from_utf8(line) else { return Line::Malformed };
    let line = line.trim_matches([' ', '\t', '\r']);
    match line.strip_prefix('#') {
        Some(comment) => read_comment(comment),
        None if line.is_empty() => Line::Nothing,
        None => read_sample(line).map_or(Line::Malformed, Line::Sample),
    }
}

fn read_comment(comment: &str) -> Line<'_> {
    let comment = comment.trim_start_matches(BLANKS);
    let (word, rest) = split(comment);
    let (name, text) = split(rest);
    match word {
        "EOF" => Line::End,
        "HELP" if is_name(name, true) => Line::Help(name, text),
        "TYPE" if is_name(name, true) => {
            Kind::read(text).map_or(Line::Malformed, |kind| Line::Type(name, kind))
        }
        "HELP" | "TYPE" => Line::Malformed,
        _ => Line::Nothing,
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(BLANKS).unwrap_or((text, ""));
    (word, rest.trim_start_matches(BLANKS))
}

fn is_name(name: &str, with_colon: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || with_colon && c == ':';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn read_sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c| BLANKS.contains(&c) || c == '{')?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return None;
    }
    let rest = rest.trim_start_matches(BLANKS);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let length = labels_length(rest)?;
            (rest[..length].trim_matches(BLANKS), &rest[length + 1..])
        }
        None => ("", rest),
    };
    let mut words = rest.split(BLANKS).filter(|word| !word.is_empty());
    let text = words.next()?;
    let value = read_value(text)?;
    // After a # comes OpenMetrics' exemplar, for which 0.0.4 has no place.
    let timestamp = words.next().filter(|word| !word.starts_with('#'));
    let is_whole = timestamp.is_none() || words.next().is_none_or(|word| word.starts_with('#'));
    is_whole.then_some(Sample { name, labels, text, value, timestamp })
}

/// A number as Go reads it: infinite only in words.
fn read_value(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let in_words = text.contains(['i', 'I']);
    (value.is_finite() || value.is_nan() || in_words).then_some(value)
}

/// Bytes of the labels up to their closing brace, if they are well formed and no name comes twice.
fn labels_length(text: &str) -> Option<usize> {
    let mut names: Vec<&str> = Vec::new();
    let mut at = 0;
    loop {
        at += blanks(&text[at..]);
        if text[at..].starts_with('}') {
            return Some(at);
        }
        let (name, value) = read_label(&text[at..])?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        // From the start of the label to the end of its value, with the quotation mark.
        at += value.as_ptr() as usize - text[at..].as_ptr() as usize + value.len() + 1;
        at += blanks(&text[at..]);
        match text[at..].chars().next()? {
            ',' => at += 1,
            '}' => return Some(at),
            _ => return None,
        }
    }
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(BLANKS).len()
}

/// The label that `text` starts with: its name, and its value as it is written.
fn read_label(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end_matches(BLANKS);
    let value = rest.trim_start_matches(BLANKS).strip_prefix('"')?;
    // 0.0.4 has names of no other kind, and __name__ is the metric's.
    if !is_name(name, false) || name == "__name__" {
        return None;
    }
    let mut escaped = false;
    for (end, c) in value.char_indices() {
        match (escaped, c) {
            (true, '\\' | '"' | 'n') => escaped = false,
            (true, _) => return None,
            (false, '\\') => escaped = true,
            (false, '"') => return Some((name, &value[..end])),
            _ => {}
        }
    }
    None
}

impl<'a> Sample<'a> {
    /// The value of its label `name`, as it is written.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (found, value) = read_label(rest.trim_start_matches([' ', '\t', ',']))?;
            if found == name {
                return Some(value);
            }
            let end = value.as_ptr() as usize - self.labels.as_ptr() as usize + value.len() + 1;
            rest = self.labels.get(end..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: &str) -> Sample<'_> {
        match read(line.as_bytes()) {
            Line::Sample(sample) => sample,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn samples_are_read_as_they_are_written() {
        let plain = sample("up 1");
        assert_eq!((plain.name, plain.labels, plain.value, plain.timestamp), ("up", "", 1.0, None));
        let full = sample("  a:b_c {x=\"1 , }\", y = \"q\\\"\\\\\\n\" ,} 1.5e3\t-1700 \r");
        assert_eq!((full.name, full.value, full.timestamp), ("a:b_c", 1500.0, Some("-1700")));
        assert_eq!(
            (full.label("x"), full.label("y"), full.label("z")),
            (Some("1 , }"), Some("q\\\"\\\\\\n"), None)
        );
        assert_eq!(sample("a{} +Inf").value, f64::INFINITY);
        assert!(sample("a NaN").value.is_nan());
        let exemplar = sample("a_bucket{le=\"1\"} 3 # {trace_id=\"x y\"} 0.5 1.2");
        assert_eq!((exemplar.text, exemplar.timestamp), ("3", None));
        assert_eq!(sample("a 3 5 # {} 0.5").timestamp, Some("5"));
    }

    #[test]
    fn comments_are_told_apart() {
        assert_eq!(read(b"# HELP a what  it is"), Line::Help("a", "what  it is"));
        assert_eq!(read(b"#TYPE a\tcounter"), Line::Type("a", Kind::Counter));
        assert_eq!(read(b"# EOF"), Line::End);
        for nothing in ["", "  ", "# hello", "#", "# UNIT a seconds", "\r"] {
            assert_eq!(read(nothing.as_bytes()), Line::Nothing, "{nothing}");
        }
    }

    #[test]
    fn what_no_scraper_would_read_is_malformed() {
        for line in [
            "a",
            "a ",
            "1a 1",
            "a-b 1",
            "a{ 1",
            "a{} ",
            "a{x} 1",
            "a{x=1} 1",
            "a{x=\"1} 1",
            "a{x=\"1\" y=\"2\"} 1",
            "a{x=\"1\",x=\"2\"} 1",
            "a{x=\"\\t\"} 1",
            "a{__name__=\"b\"} 1",
            "a{,} 1",
            "a{\"b.c\"} 1",
            "{\"b\"} 1",
            "a{x:y=\"1\"} 1",
            "a one",
            "a 1 2 3",
            "a 1e999",
            "a 1_000",
            "<html>",
            "{\"a\": 1}",
            "# TYPE a thing",
            "# TYPE a",
            "# TYPE 1 gauge",
            "# HELP é x",
        ] {
            assert_eq!(read(line.as_bytes()), Line::Malformed, "{line}");
        }
        assert_eq!(read(b"a{x=\"\xff\"} 1"), Line::Malformed);
    }
}
