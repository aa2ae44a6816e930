//! The files for a CI service: JUnit's XML with one test case per score, and a summary in Markdown.

use super::{HEADER, cells, summary};
use gauntlet::{Error, Result};
use gauntlet_report::check::{Checked, Findings, Outcome};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;

/// Maximum number of rows of the summary's table: services truncate long tables.
const MOST: usize = 100;

/// One test suite per arena. An undecided score is an error, a moved score a failure.
pub fn junit(name: &str, findings: &Findings) -> Result<String> {
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for checked in &findings.scores {
        let arena = checked.recorded.key.arena.as_str();
        let mut case = TestCase::new(checked.recorded.key.name(), status(checked));
        case.set_classname(format!("{name}.{arena}.{}", checked.recorded.key.defense));
        suites.entry(arena).or_insert_with(|| TestSuite::new(format!("{name} {arena}"))).add_test_case(case);
    }
    let mut poison = TestSuite::new(format!("{name} poison"));
    for line in &findings.other_poison {
        let status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        poison.add_test_case(TestCase::new(line.clone(), status));
    }
    let mut report = Report::new(name);
    report.add_test_suites(suites.into_values().chain((!findings.other_poison.is_empty()).then_some(poison)));
    report.to_string().map_err(|error| Error::invalid("--junit", error.to_string()))
}

fn status(checked: &Checked) -> TestCaseStatus {
    let kind = match &checked.outcome {
        Outcome::Same | Outcome::Within => return TestCaseStatus::success(),
        Outcome::CannotTell(_) => NonSuccessKind::Error,
        Outcome::Moved(_) | Outcome::Failed => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let shown = HEADER.iter().zip(cells(checked)).map(|(title, cell)| format!("{title}: {cell}"));
    status.set_message(shown.collect::<Vec<_>>().join("; "));
    status
}

/// The verdict, and every score that is not the same to the last digit.
pub fn markdown(name: &str, findings: &Findings) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let mut text = format!("### gauntlet check: {name}\n\n{}\n\n", summary(findings));
    text +=
        &findings.other_poison.iter().chain(&findings.remarks).map(|line| format!("- {line}\n")).collect::<String>();
    let shown: Vec<&Checked> = findings.scores.iter().filter(|one| one.outcome != Outcome::Same).collect();
    if !shown.is_empty() {
        text += &("\n".to_string() + &row(&HEADER.map(str::to_string)) + "|---|--:|--:|--:|--:|--:|---|\n");
        text += &shown.iter().take(MOST).map(|checked| row(&cells(checked))).collect::<String>();
    }
    if shown.len() > MOST {
        text += &format!("\nand {} more rows\n", shown.len() - MOST);
    }
    text
}
