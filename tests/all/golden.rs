//! Golden cases: each example as it stands, and each of `tests/cases/`, to the whole plan. `UPDATE_GOLDEN=1` writes what is planned now; the
//! diff is the review.

use std::path::Path;

use crate::cases::{Case, examples, written};

#[test]
fn every_case_is_planned_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut cases, more) = (examples(), written("tests/cases"));
    assert!(cases.len() >= 4 && more.len() >= 3, "the cases are gone");
    cases.extend(more);
    let mut wrong = Vec::new();
    for case in cases {
        let recorded = folder.join(format!("{}.yaml", case.name()));
        let planned = render(&case);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&recorded, &planned).expect("golden file");
        }
        let expected = std::fs::read_to_string(&recorded).unwrap_or_default();
        if expected != planned {
            wrong.push(format!("{}:\n{}", recorded.display(), first_difference(&expected, &planned)));
        }
    }
    assert!(wrong.is_empty(), "run `make generate` and review the diff of\n{}", wrong.join("\n"));
}

fn render(case: &Case) -> String {
    let plan = case.plan();
    plan.objects
        .iter()
        .map(|planned| {
            format!(
                "---\n# applied by {}\n{}",
                planned.manager,
                serde_saphyr::to_string(&planned.object).expect("YAML")
            )
        })
        .collect()
}

fn first_difference(expected: &str, planned: &str) -> String {
    let differs = expected.lines().zip(planned.lines()).enumerate().find(|(_, (a, b))| a != b);
    match differs {
        Some((line, (a, b))) => format!("  line {}\n  - {a}\n  + {b}", line + 1),
        None => format!("  {} lines recorded, {} planned", expected.lines().count(), planned.lines().count()),
    }
}
