use proptest::prelude::*;

use super::*;

fn fitted(text: &str) -> Merged {
    fit(text.as_bytes(), &HashSet::new())
}

fn taken(names: &[&str]) -> HashSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const PLAIN: &str = "\
# HELP books Books there are.
# TYPE books gauge
books{shelf=\"a\"} 3
books{shelf=\"b\"} 4 1700000000000
# TYPE seconds histogram
seconds_bucket{le=\"1\"} 1
seconds_bucket{le=\"+Inf\"} 2
seconds_sum 3.5
seconds_count 2
# TYPE age summary
age{quantile=\"0.5\"} 7
age_sum 7
age_count 1
# TYPE free untyped
free 1
";

#[test]
fn a_well_formed_text_stays_as_it_is() {
    assert_eq!(fitted(PLAIN), Merged { text: PLAIN.into(), dropped: Dropped::default() });
}

#[test]
fn a_family_of_a_name_of_ours_is_dropped_whole() {
    let merged = fit(PLAIN.as_bytes(), &taken(&["books", "seconds_count"]));
    assert!(!merged.text.contains("books") && !merged.text.contains("seconds"), "{}", merged.text);
    assert!(merged.text.contains("age_sum 7"));
    assert_eq!(merged.dropped, Dropped { collisions: 2, ..Dropped::default() });
    // A part of our histogram's name, said to be something else.
    assert_eq!(
        fit(
            b"ours_bucket 1\n",
            &taken(&names("ours", Kind::Histogram).iter().map(String::as_str).collect::<Vec<_>>())
        )
        .dropped
        .collisions,
        1
    );
}

#[test]
fn families_that_are_torn_apart_are_put_together() {
    let merged = fitted("a 1\nb 1\na{x=\"1\"} 2\n# TYPE a counter\n# HELP a late");
    assert_eq!(merged.text, "# HELP a late\n# TYPE a counter\na 1\na{x=\"1\"} 2\n# TYPE b untyped\nb 1\n");
    assert_eq!(merged.dropped, Dropped::default());
}

#[test]
fn malformed_lines_go_and_the_rest_stays() {
    let merged = fitted(
        "a 1\nno sample\n# TYPE a thing\n# TYPE b gauge\n# TYPE b counter\nb 2 soon\n\
         # TYPE h histogram\nh 1\nh_bucket 1\nh_bucket{le=\"wide\"} 1\na 5\n",
    );
    assert_eq!(merged.text, "# TYPE a untyped\na 1\n");
    assert_eq!(merged.dropped, Dropped { collisions: 0, malformed: 7, duplicates: 1 });
}

#[test]
fn a_page_is_one_malformed_thing() {
    let merged = fitted("\n<!doctype html>\n<p>a 1</p>\nb 2\n");
    assert_eq!(
        merged,
        Merged { text: String::new(), dropped: Dropped { malformed: 1, ..Dropped::default() } }
    );
    assert_eq!(fitted("").text, "");
}

#[test]
fn open_metrics_is_said_in_the_older_words() {
    let merged = fitted(
        "# TYPE requests counter\n# UNIT requests seconds\n# HELP requests A \\\"good\\\" one\\\\.\n\
         requests_total{a=\"b\"} 5 1700000000.25 # {trace_id=\"t\"} 1\nrequests_created{a=\"b\"} 1.7e9\n\
         # TYPE build info\nbuild_info{version=\"1\"} 1\n# TYPE odd unknown\nodd 1\n\
         # TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 1\ngh_gcount 1\ngh_gsum 1\n\
         # TYPE on stateset\non{on=\"yes\"} 1\n# EOF\nafter 1\n",
    );
    assert_eq!(
        merged.text,
        "# HELP requests_total A \"good\" one\\\\.\n# TYPE requests_total counter\n\
         requests_total{a=\"b\"} 5 1700000000250\n\
         # HELP requests_created A \"good\" one\\\\.\n# TYPE requests_created gauge\nrequests_created{a=\"b\"} 1.7e9\n\
         # TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n# TYPE odd untyped\nodd 1\n\
         # TYPE gh_bucket untyped\ngh_bucket{le=\"+Inf\"} 1\n# TYPE gh_gcount untyped\ngh_gcount 1\n\
         # TYPE gh_gsum untyped\ngh_gsum 1\n# TYPE on gauge\non{on=\"yes\"} 1\n"
    );
    assert_eq!(merged.dropped, Dropped::default());
}

/// Reads `text` as strictly as a scraper may, and tells its families.
fn read_strictly(text: &str) -> Result<Vec<&str>, String> {
    let mut families: Vec<(&str, Kind)> = Vec::new();
    let mut series = HashSet::new();
    let mut described = HashSet::new();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in text.lines() {
        match read(line.as_bytes()) {
            Line::Help(name, help) => {
                let escapes = help.replace("\\\\", "").replace("\\n", "");
                if !described.insert(name) || escapes.contains('\\') {
                    return Err(format!("help: {line}"));
                }
            }
            Line::Type(name, kind) => {
                let part_of =
                    |(other, kind): &(&str, Kind)| names(other, *kind).iter().any(|part| part == name);
                if families.iter().any(part_of) {
                    return Err(format!("a name twice: {line}"));
                }
                families.push((name, kind));
            }
            Line::Sample(sample) => {
                let Some((family, kind)) = families.last() else { return Err(format!("no type: {line}")) };
                if !names(family, *kind).iter().any(|part| part == sample.name) {
                    return Err(format!("not of {family}: {line}"));
                }
                if !series.insert((sample.name, sample.labels)) {
                    return Err(format!("a series twice: {line}"));
                }
                if sample.timestamp.is_some_and(|time| time.parse::<i64>().is_err()) || line.contains(" # ") {
                    return Err(format!("not of 0.0.4: {line}"));
                }
            }
            other => return Err(format!("{other:?}: {line}")),
        }
    }
    Ok(families.into_iter().map(|(name, _)| name).collect())
}

fn lines() -> impl Strategy<Value = String> {
    let name = "(a|b|ours)(_total|_count|_sum|_bucket|_created|_info)?";
    let kind = "(counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram|thing)";
    prop_oneof![
        4 => (name, "(\\{(le|quantile|x)=\"(1|0\\.5|\\+Inf|y)\",?\\})?", "(1|NaN|-Inf|1e999|x)", "( 17| 1\\.5| #.*)?")
            .prop_map(|(name, labels, value, rest)| format!("{name}{labels} {value}{rest}")),
        3 => (name, kind).prop_map(|(name, kind)| format!("# TYPE {name} {kind}")),
        1 => (name, ".*").prop_map(|(name, help)| format!("# HELP {name} {help}")),
        1 => Just("# EOF".to_owned()),
        1 => ".*",
    ]
}

proptest! {
    #[test]
    fn whatever_the_application_says_the_result_is_read(
        lines in prop::collection::vec(lines(), 0..40),
        end in prop::bool::ANY,
    ) {
        let mut theirs = lines.join("\n");
        if end {
            theirs.push('\n');
        }
        let ours = "# TYPE ours histogram\nours_bucket{le=\"+Inf\"} 1\nours_sum 1\nours_count 1\n# TYPE a_sum gauge\na_sum 1\n";
        let mut taken: HashSet<String> = names("ours", Kind::Histogram).into_iter().collect();
        taken.extend(names("a_sum", Kind::Gauge));
        let merged = format!("{ours}{}", fit(theirs.as_bytes(), &taken).text);
        let families = read_strictly(&merged);
        prop_assert!(families.is_ok(), "{families:?}\n{theirs}\n---\n{merged}");
        // What was fitted once fits as it is.
        let text = fit(theirs.as_bytes(), &taken).text;
        prop_assert_eq!(fit(text.as_bytes(), &taken).text, text);
    }

    #[test]
    fn bytes_of_any_kind_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let merged = fit(&bytes, &HashSet::new());
        prop_assert!(read_strictly(&merged.text).is_ok(), "{}", merged.text);
    }
}
