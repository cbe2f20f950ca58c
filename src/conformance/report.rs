//! What came of a survey: for people, for machines, and for CI.

use std::fmt::Write;

use serde::Serialize;

use super::catalog::{self, Check};
use super::survey::Survey;
use super::verdict::{Blocked, Verdict};

/// All findings about one service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where its traffic goes.
    pub url: String,
    /// Where its contract was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_url: Option<String>,
    /// How many checks passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many had nothing to judge.
    pub skipped: usize,
    /// Each of them.
    pub checks: Vec<Finding>,
}

/// What came of one check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The check.
    pub id: &'static str,
    /// The requirements it holds.
    pub requirements: &'static [&'static str],
    /// pass, fail or skip.
    pub outcome: Outcome,
    /// What was seen, or why nothing was judged.
    pub observed: String,
    /// What has to be.
    pub expected: &'static str,
    /// What to do about it.
    pub way_out: &'static str,
}

/// What came of a check, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The contract is kept.
    Pass,
    /// It is broken.
    Fail,
    /// There was nothing to judge.
    Skip,
}

impl Outcome {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
        }
    }
}

impl Finding {
    fn of(check: &Check, verdict: Verdict) -> Finding {
        let (outcome, observed) = match verdict {
            Ok(seen) => (Outcome::Pass, seen),
            Err(Blocked::Failed(seen)) => (Outcome::Fail, seen),
            Err(Blocked::Skipped(reason)) => (Outcome::Skip, reason),
        };
        Finding {
            id: check.id,
            requirements: check.requirements,
            outcome,
            observed,
            expected: check.expected,
            way_out: check.way_out,
        }
    }
}

impl Report {
    /// Judge everything.
    pub(super) fn of(survey: &Survey) -> Report {
        let judged = |check: &Check| {
            if survey.spec.skip.iter().any(|id| id == check.id) {
                return Err(Blocked::Skipped("the spec leaves it out".into()));
            }
            (check.judge)(survey)
        };
        let checks = catalog::all().map(|check| Finding::of(check, judged(check))).collect();
        Report::with(survey.url.clone(), Some(survey.contract_url.clone()), checks)
    }

    /// One failure in place of all: nobody answers.
    pub(super) fn unreachable(url: String, reason: &str) -> Report {
        let verdict = Err(Blocked::Failed(format!("{url}: {reason}")));
        Report::with(url, None, vec![Finding::of(&catalog::REACHABLE, verdict)])
    }

    fn with(url: String, contract_url: Option<String>, checks: Vec<Finding>) -> Report {
        let count = |outcome| checks.iter().filter(|finding| finding.outcome == outcome).count();
        let (passed, failed, skipped) = (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Skip));
        Report { url, contract_url, passed, failed, skipped, checks }
    }

    /// For people: a line a check, and what to do about each failure.
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|finding| finding.id.len()).max().unwrap_or_default();
        let mut text = String::new();
        for finding in &self.checks {
            let Finding { id, outcome, observed, .. } = finding;
            let requirements = finding.requirements.join(" ");
            let _ = writeln!(text, "{:4}  {id:width$}  {observed}", outcome.as_str());
            if *outcome == Outcome::Fail {
                let _ = writeln!(text, "{:6}expected  {} ({requirements})", "", finding.expected);
                let _ = writeln!(text, "{:6}way out   {}", "", finding.way_out);
            }
        }
        let _ = writeln!(text, "\n{}: {}", self.url, self.summary());
        text
    }

    /// How many passed, failed, and were skipped.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    /// What failed, in so few words that a Job can end with them; and how many passed.
    pub fn brief(&self) -> String {
        const MOST: usize = 220;
        let mut text = String::new();
        let mut left = self.failed;
        for finding in self.checks.iter().filter(|finding| finding.outcome == Outcome::Fail) {
            let observed: String = finding.observed.chars().take(80).collect();
            let next = format!("{}: {observed}; ", finding.id);
            if !text.is_empty() && text.chars().count() + next.chars().count() > MOST {
                break;
            }
            text += &next;
            left -= 1;
        }
        if left > 0 {
            let _ = write!(text, "{left} more; ");
        }
        text + &self.summary()
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// For CI: JUnit's XML.
    pub fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" skipped=\"{}\"",
            self.checks.len(),
            self.failed,
            self.skipped
        );
        let _ = writeln!(xml, "<testsuites {counts}>");
        let _ = writeln!(xml, "<testsuite name=\"conformance {}\" {counts}>", escaped(&self.url));
        for finding in &self.checks {
            let (room, name) = finding.id.split_once('/').unwrap_or((finding.id, ""));
            let _ = write!(
                xml,
                "<testcase classname=\"conformance.{}\" name=\"{}\"",
                escaped(room),
                escaped(name)
            );
            let observed = escaped(&finding.observed);
            let _ = match finding.outcome {
                Outcome::Pass => writeln!(xml, "/>"),
                Outcome::Skip => writeln!(xml, "><skipped message=\"{observed}\"/></testcase>"),
                Outcome::Fail => writeln!(
                    xml,
                    "><failure message=\"{observed}\">expected: {} ({})\nway out: {}</failure></testcase>",
                    escaped(finding.expected),
                    finding.requirements.join(" "),
                    escaped(finding.way_out)
                ),
            };
        }
        xml.push_str("</testsuite>\n</testsuites>\n");
        xml
    }
}

/// A text as XML, without the characters that XML has no way to write.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\t' | '\n' | '\r' => xml.push(' '),
            _ if letter < ' ' || matches!(letter, '\u{fffe}' | '\u{ffff}') => xml.push('\u{fffd}'),
            _ => xml.push(letter),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let check = &catalog::REACHABLE;
        let checks = vec![
            Finding::of(check, Ok("fine".into())),
            Finding::of(check, Err(Blocked::Failed("<b> & \"c\"\u{1}".into()))),
            Finding::of(check, Err(Blocked::Skipped("nothing told".into()))),
        ];
        Report::with("http://books?a=1&b=2".into(), None, checks)
    }

    #[test]
    fn people_see_a_line_a_check_and_the_way_out_of_a_failure() {
        let text = report().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "pass  service/reachable  fine");
        assert!(lines[2].starts_with("      expected  ") && lines[2].ends_with("(C31 D17)"), "{text}");
        assert!(lines[3].starts_with("      way out   "), "{text}");
        assert_eq!(lines[6], "http://books?a=1&b=2: 1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_job_ends_with_what_failed_in_few_words() {
        let brief = report().brief();
        assert_eq!(brief, "service/reachable: <b> & \"c\"\u{1}; 1 passed, 1 failed, 1 skipped");
        let finding = || Finding::of(&catalog::REACHABLE, Err(Blocked::Failed("é".repeat(500))));
        let many = Report::with("http://books".into(), None, (0..40).map(|_| finding()).collect());
        let brief = many.brief();
        assert!(brief.ends_with("38 more; 0 passed, 40 failed, 0 skipped"), "{brief}");
        assert!(brief.chars().count() < 300, "{brief}");
    }

    #[test]
    fn machines_read_it_as_json() {
        let read: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(read["failed"], 1);
        assert_eq!(read["checks"][1]["outcome"], "fail");
        assert_eq!(read["checks"][1]["requirements"][0], "C31");
        assert!(read["checks"][1]["wayOut"].is_string());
    }

    #[test]
    fn ci_reads_it_as_junit() {
        let xml = report().junit();
        let read = roxmltree::Document::parse(&xml).unwrap();
        let suite = read.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("name"), Some("conformance http://books?a=1&b=2"));
        assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("3"), Some("1")));
        let failure = read.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("message"), Some("<b> & \"c\"\u{fffd}"));
        assert!(failure.text().unwrap().contains("way out: "));
        assert_eq!(read.descendants().filter(|node| node.has_tag_name("skipped")).count(), 1);
    }
}
