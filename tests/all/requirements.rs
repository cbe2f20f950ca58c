//! `docs/requirements.md` answers to every requirement once, and cites only tests that exist.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// First variable of each group of the requirements' table of environment variables.
const VARIABLES: [&str; 31] = [
    "SERVICE_NAME",
    "ENVIRONMENT",
    "PORT",
    "PROMETHEUS_PORT",
    "PROMETHEUS_ENABLED",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "DATABASE_URL",
    "DB_HOST",
    "DB_MAX_OPEN_CONNS",
    "DB_CONN_MAX_LIFETIME",
    "DB_SSL_MODE",
    "REDIS_URL",
    "MONGODB_URI",
    "JWT_SECRET",
    "JWT_EXPIRES_IN",
    "BCRYPT_ROUNDS",
    "ENCRYPTION_KEY",
    "CSRF_SECRET",
    "RATE_LIMIT_RPM",
    "CORS_ALLOWED_ORIGINS",
    "READ_TIMEOUT",
    "SHUTDOWN_TIMEOUT",
    "MAX_HEADER_BYTES",
    "API_GATEWAY_URL",
    "SERVICE_TOKEN",
    "CORRELATION_ID_HEADER",
    "DEBUG",
    "HUGGINGFACE_TOKEN",
    "SLACK_WEBHOOK_URL",
    "KUBE_CONFIG_STAGING",
];

/// Parts of the product that come later.
const PARTS: [&str; 1] = ["domain services"];

/// Every requirement that has to be answered. Later releases add theirs.
fn expected() -> Vec<String> {
    let numbered = |letter: &str, numbers: RangeInclusive<u32>| {
        numbers.map(|number| format!("{letter}{number:02}")).collect::<Vec<_>>()
    };
    [
        numbered("A", 1..=48),
        numbered("B", 1..=24),
        VARIABLES.map(|variable| format!("H.1/{variable}")).to_vec(),
        [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29, 31, 33, 34, 35, 36, 37]
            .map(|number| format!("C{number:02}"))
            .to_vec(),
        numbered("D", 1..=17),
        numbered("D", 20..=35),
        numbered("D", 40..=79),
        numbered("E", 1..=20),
        numbered("E", 30..=40),
        numbered("E", 50..=60),
        numbered("E", 70..=76),
        numbered("E", 78..=79),
        numbered("F", 1..=9),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 18, 19, 20, 21, 26, 29, 30]
            .map(|number| format!("DL{number:02}"))
            .to_vec(),
        numbered("H", 1..=12),
        numbered("X", 1..=61),
        [numbered("G", 1..=20), numbered("G", 23..=28), numbered("G", 31..=36)].concat(),
        numbered("L", 1..=9),
        (1..=14).chain(17..=25).map(|number| format!("T{number}")).collect(),
    ]
    .concat()
}

/// The rows of the document: line, id, sentence, answer.
fn rows() -> Vec<(usize, String, String, String)> {
    let text = fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| ID |"))
        .map(|(index, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 3, "docs/requirements.md:{}: a row has three cells", index + 1);
            (index + 1, cells[0].to_string(), cells[1].to_string(), cells[2].to_string())
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_requirement_is_answered_once() {
    let mut times: BTreeMap<String, usize> = expected().into_iter().map(|id| (id, 0)).collect();
    for (line, id, sentence, _) in rows() {
        let Some(count) = times.get_mut(&id) else {
            panic!("docs/requirements.md:{line}: nobody knows {id}")
        };
        *count += 1;
        assert!(sentence.len() > 10, "docs/requirements.md:{line}: say {id} in a sentence");
    }
    let wrong: Vec<String> = times
        .iter()
        .filter(|(_, count)| **count != 1)
        .map(|(id, count)| format!("{id} has {count} rows"))
        .collect();
    assert!(wrong.is_empty(), "docs/requirements.md: {}", wrong.join(", "));
}

#[test]
fn every_answer_says_which_test_or_which_part_or_why_not() {
    let wrong: Vec<String> = rows()
        .iter()
        .flat_map(|(line, id, _, answer)| {
            answer.split("; ").filter_map(move |part| {
                let told = wrong_with(part)?;
                Some(format!("docs/requirements.md:{line}: {id}: {told}"))
            })
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What is wrong with one answer, if anything.
fn wrong_with(answer: &str) -> Option<String> {
    if let Some(tests) = answer.strip_prefix("test: ") {
        let cited: Vec<&str> =
            tests.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect();
        if cited.is_empty() {
            return Some("names no test".into());
        }
        return cited.into_iter().find_map(missing);
    }
    if let Some(part) = answer.strip_prefix("later: ") {
        let known = PARTS.iter().any(|known| {
            part.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
        });
        return (!known).then(|| format!("\"{part}\" is no part of the product"));
    }
    match answer.strip_prefix("declined: ") {
        Some(reason) if reason.len() > 10 => None,
        Some(_) => Some("say why it is declined".into()),
        None => Some(format!("\"{answer}\" is neither test, later nor declined")),
    }
}

/// Whether a cited `path::name` is a test that does not exist.
fn missing(cited: &str) -> Option<String> {
    let (path, name) = cited.rsplit_once("::")?;
    let Ok(text) = fs::read_to_string(root().join(path)) else { return Some(format!("there is no {path}")) };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_test = |line: &&str| line.starts_with("#[") && line.contains("test");
    let exists = lines.iter().enumerate().any(|(index, line)| {
        let signature =
            [format!("fn {name}("), format!("async fn {name}(")].iter().any(|start| line.starts_with(start));
        // Attributes and comments may stand between the mark of a test and its name.
        let mut above =
            lines[..index].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
        signature && above.any(is_test)
    });
    (!exists).then(|| format!("{path} has no test {name}"))
}
